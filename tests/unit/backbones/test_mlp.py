from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from mlc.backbones.mlp import MLP

CONFIGS = Path(__file__).parents[3] / "configs" / "backbone"


def shipped(name: str) -> MLP:
    options = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    options = {key: value for key, value in options.items() if not key.startswith("_")}
    return MLP(input_shape=(10,), **options)


def story(backbone: MLP) -> list[tuple[str, float]]:
    """The layers that compute something, each with the number that describes it."""
    told: list[tuple[str, float]] = []
    for layer in backbone.modules():
        if isinstance(layer, nn.Dropout):
            told.append(("dropout", layer.p))
        elif isinstance(layer, nn.Linear):
            told.append(("dense", layer.out_features))
        elif not list(layer.children()) and not isinstance(layer, nn.Flatten | nn.Identity):
            told.append((type(layer).__name__.lower(), 0))
    return told


def test_wide_mlp_has_exactly_the_layers_of_its_source() -> None:
    # dropout .3, dense 1600, .6, 1200, .6, 800, .6; ReLU; the sigmoid is the head's.
    backbone = shipped("wide_mlp")
    assert story(backbone) == [
        ("dropout", 0.3),
        ("dense", 1600),
        ("relu", 0),
        ("dropout", 0.6),
        ("dense", 1200),
        ("relu", 0),
        ("dropout", 0.6),
        ("dense", 800),
        ("relu", 0),
        ("dropout", 0.6),
    ]
    parameters = sum(p.numel() for p in backbone.parameters())
    assert parameters == (10 * 1600 + 1600) + (1600 * 1200 + 1200) + (1200 * 800 + 800)
    assert backbone.feature_sizes == {"layer1": 1600, "layer2": 1200, "layer3": 800, "pooled": 800}


def mlp(norm: str = "none", input_dropout: float = 0.0, dropout: float = 0.0) -> MLP:
    return MLP(
        input_shape=(2, 3),
        widths=[4, 5],
        input_dropout=input_dropout,
        dropout=dropout,
        norm=norm,  # type: ignore[arg-type]
    )


def test_two_layers_equal_numpy() -> None:
    backbone = mlp()
    w1, b1, w2, b2 = (p.detach().numpy() for p in backbone.parameters())
    x = np.random.default_rng(0).normal(size=(7, 2, 3)).astype(np.float32)
    hidden = np.maximum(x.reshape(7, 6) @ w1.T + b1, 0)
    expected = np.maximum(hidden @ w2.T + b2, 0)
    features = backbone({"x": torch.from_numpy(x)})
    np.testing.assert_allclose(features["layer1"].detach(), hidden, atol=1e-6)
    np.testing.assert_allclose(features["layer2"].detach(), expected, atol=1e-6)
    assert features["pooled"] is features["layer2"]
    assert backbone.feature_sizes == {"layer1": 4, "layer2": 5, "pooled": 5}


@pytest.mark.parametrize(("norm", "kind"), [("batch", "batchnorm1d"), ("layer", "layernorm")])
def test_norm_stands_before_each_relu(norm: str, kind: str) -> None:
    layers = [name for name, _ in story(mlp(norm, dropout=0.5))]
    assert layers == ["dense", kind, "relu", "dropout"] * 2


def test_layer_norm_equals_numpy() -> None:
    backbone = MLP(input_shape=(3,), widths=[4], input_dropout=0.0, dropout=0.0, norm="layer")
    weight, bias = (p.detach().numpy() for p in list(backbone.parameters())[:2])
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    raw = x @ weight.T + bias
    centred = raw - raw.mean(1, keepdims=True)
    expected = np.maximum(centred / np.sqrt(centred.var(1, keepdims=True) + 1e-5), 0)
    np.testing.assert_allclose(backbone({"x": torch.from_numpy(x)})["pooled"].detach(), expected, atol=1e-5)


def test_input_dropout_hits_the_input_in_training_only() -> None:
    torch.manual_seed(0)
    backbone = mlp(input_dropout=0.5)
    x = torch.randn(8, 2, 3)
    assert not torch.equal(backbone({"x": x})["pooled"], backbone({"x": x})["pooled"])
    backbone.eval()
    assert torch.equal(backbone({"x": x})["pooled"], backbone({"x": x})["pooled"])
