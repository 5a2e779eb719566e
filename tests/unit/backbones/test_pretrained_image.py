from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch.nn import functional as F

from mlc.backbones.pretrained_image import PretrainedImage
from mlc.errors import UserError
from tests.contract.grid import numbers
from tests.unit.backbones.tiny_models import RESNET, VIT, saved

transformers = pytest.importorskip("transformers")


def backbone(folder: Path, shape: tuple[int, ...] = (3, 8, 8), **changes: Any) -> PretrainedImage:
    torch.manual_seed(0)
    options: dict[str, Any] = {
        "inputs": numbers(*shape),
        "model": str(folder),
        "frozen": "none",
        "learning_rate_factor": 1.0,
        "layer_decay": 1.0,
        "pooling": "mean",
        "dropout": 0.0,
    }
    return PretrainedImage(**(options | changes))


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_features_are_those_of_the_model(tmp_path: Path, pooling: str) -> None:
    original, x = saved(VIT, tmp_path), torch.randn(2, 3, 8, 8)
    ours = backbone(tmp_path, pooling=pooling)
    ours.load_pretrained()
    features = ours.eval()({"x": x})
    state = original(pixel_values=x).last_hidden_state
    torch.testing.assert_close(features["tokens"], state)
    torch.testing.assert_close(features["pooled"], state.mean(1) if pooling == "mean" else state[:, 0])
    assert ours.feature_sizes == {"tokens": 16, "pooled": 16}


def test_grey_pictures_of_another_size_are_fitted(tmp_path: Path) -> None:
    original, x = saved(VIT, tmp_path), torch.randn(2, 1, 12, 16)
    ours = backbone(tmp_path, (1, 12, 16))
    ours.load_pretrained()
    fitted = F.interpolate(x, (8, 8), mode="bilinear", antialias=True).repeat(1, 3, 1, 1)
    expected = original(pixel_values=fitted).last_hidden_state.mean(1)
    torch.testing.assert_close(ours.eval()({"x": x})["pooled"], expected)


@pytest.mark.parametrize("channels_last", ["auto", True])
def test_a_convolutional_model_gives_the_positions_of_its_map(
    tmp_path: Path, channels_last: Literal["auto"] | bool
) -> None:
    original, x = saved(RESNET, tmp_path), torch.randn(2, 3, 32, 32)
    ours = backbone(tmp_path, (3, 32, 32), channels_last=channels_last)
    ours.load_pretrained()
    map_BCHW = original(pixel_values=x).last_hidden_state
    features = ours.eval()({"x": x})
    torch.testing.assert_close(features["pooled"], map_BCHW.mean((2, 3)))
    assert features["tokens"].shape == (2, map_BCHW[0, 0].numel(), 8)


def test_gradient_reaches_every_parameter(tmp_path: Path) -> None:
    saved(VIT, tmp_path)
    ours = backbone(tmp_path)
    features = ours({"x": torch.randn(2, 3, 8, 8)})["pooled"]
    (features * torch.randn_like(features)).sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in ours.parameters())


def test_a_frozen_model_keeps_its_running_statistics(tmp_path: Path) -> None:
    saved(RESNET, tmp_path)
    ours = backbone(tmp_path, (3, 32, 32), frozen="all").train()
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    ours({"x": torch.randn(4, 3, 32, 32)})
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be read .*config\.json"):
        backbone(tmp_path)
    saved(VIT, tmp_path)
    with pytest.raises(UserError, match="pictures of 3 channels, and this data set has 2"):
        backbone(tmp_path, (2, 8, 8))
    with pytest.raises(UserError, match="backbone=pretrained_image reads pictures"):
        backbone(tmp_path, (5,))
