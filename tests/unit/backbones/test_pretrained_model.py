from pathlib import Path

import pytest
import torch

from mlc.backbones.pretrained_model import build_model, load_weights, read_config
from mlc.errors import UserError
from tests.unit.backbones.tiny_models import BERT, saved

transformers = pytest.importorskip("transformers")


def test_the_weights_of_a_folder_come_in(tmp_path: Path) -> None:
    original = saved(BERT, tmp_path)
    model = build_model(read_config(str(tmp_path)))
    load_weights(model, str(tmp_path))
    expected = original.state_dict()
    assert {name for name in expected if not name.startswith("pooler.")} == model.state_dict().keys()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    saved(BERT, tmp_path)
    capfd.readouterr()
    load_weights(build_model(BERT), str(tmp_path))
    assert capfd.readouterr() == ("", "")


def test_weights_in_half_precision_are_read_as_float32(tmp_path: Path) -> None:
    saved(BERT, tmp_path).half().save_pretrained(tmp_path)
    model = build_model(read_config(str(tmp_path)))
    load_weights(model, str(tmp_path))
    assert {value.dtype for value in model.parameters()} == {torch.float32}


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    saved(BERT, tmp_path)
    with pytest.raises(UserError, match=r"those of another model.*text\.model and backbone\.model"):
        load_weights(build_model(BERT | {"num_hidden_layers": 3}), str(tmp_path))


def test_a_folder_without_all_the_weights_is_refused(tmp_path: Path) -> None:
    saved(BERT, tmp_path)
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(text.replace('"num_hidden_layers": 2', '"num_hidden_layers": 3'))
    with pytest.raises(UserError, match=r"lacks 16 of its weights, such as encoder\.layer\.2\."):
        load_weights(build_model(BERT | {"num_hidden_layers": 3}), str(tmp_path))


@pytest.mark.parametrize("left", ["nothing", "config", "damaged"])
def test_a_folder_that_is_no_model_is_refused_in_one_sentence(tmp_path: Path, left: str) -> None:
    if left != "nothing":
        saved(BERT, tmp_path)
        weights = tmp_path / "model.safetensors"
        weights.write_bytes(b"no weights") if left == "damaged" else weights.unlink()
    with pytest.raises(UserError, match=r"cannot be read .*model\.safetensors$") as refused:
        load_weights(build_model(BERT), str(tmp_path))
    assert "\n" not in str(refused.value)


def test_a_name_that_cannot_be_fetched_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for read in (read_config, lambda name: load_weights(build_model(BERT), name)):
        with pytest.raises(UserError, match=r"backbone\.model=nobody/nothing is no folder here"):
            read("nobody/nothing")


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(UserError, match="transformers cannot build"):
        build_model({"model_type": "nonsense"})
    with pytest.raises(UserError, match="transformers cannot build"):
        build_model({})
