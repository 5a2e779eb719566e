"""What every shipped backbone does, on every input shape that suits it."""

import pytest
import torch
from safetensors.torch import load, save

from mlc.backbones.base import Backbone
from mlc.errors import UserError
from tests.contract.grid import build, names

SHAPES = [(1,), (10,), (1, 8, 8), (3, 12, 9)]
ROWS = 8


def build_backbone(name: str, shape: tuple[int, ...]) -> Backbone:
    torch.manual_seed(0)
    backbone: Backbone = build("backbone", name, input_shape=shape)
    return backbone


def suits(name: str, shape: tuple[int, ...]) -> bool:
    try:
        build_backbone(name, shape)
    except UserError:
        return False
    return True


SUITABLE = [(name, shape) for name in names("backbone") for shape in SHAPES if suits(name, shape)]
BACKBONES = pytest.mark.parametrize(("name", "shape"), SUITABLE)


def inputs(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randn(ROWS, *shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", names("backbone"))
def test_every_backbone_suits_pictures(name: str) -> None:
    assert suits(name, (1, 8, 8))


@pytest.mark.parametrize("name", ["flatten", "linear", "mlp", "wide_mlp"])
def test_backbones_for_tables_suit_tables(name: str) -> None:
    assert suits(name, (10,))


@BACKBONES
def test_features_have_the_names_and_sizes_that_are_said(name: str, shape: tuple[int, ...]) -> None:
    backbone = build_backbone(name, shape)
    features = backbone({"x": inputs(shape)})
    assert {key: value.shape[-1] for key, value in features.items()} == backbone.feature_sizes
    assert "pooled" in features
    for key, value in features.items():
        assert value.shape[0] == ROWS
        assert value.ndim == (3 if key == "tokens" else 2), key
        assert value.isfinite().all(), key


@BACKBONES
def test_gradient_reaches_every_parameter(name: str, shape: tuple[int, ...]) -> None:
    backbone = build_backbone(name, shape)
    features_BD = backbone({"x": inputs(shape).requires_grad_()})["pooled"]  # may have no parameters
    (features_BD * torch.randn(features_BD.shape)).sum().backward()
    for parameter_name, parameter in backbone.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.any(), parameter_name


@BACKBONES
def test_features_depend_on_every_input(name: str, shape: tuple[int, ...]) -> None:
    x = inputs(shape).requires_grad_()
    features_BD = build_backbone(name, shape).eval()({"x": x})["pooled"]
    (features_BD * torch.randn(features_BD.shape)).sum().backward()
    assert x.grad is not None
    assert x.grad.ne(0).any(0).all()


@BACKBONES
def test_evaluation_is_deterministic_and_each_row_is_its_own(name: str, shape: tuple[int, ...]) -> None:
    backbone, x = build_backbone(name, shape), inputs(shape)
    backbone({"x": x})  # a step of training, so that running statistics are not at their start
    backbone.eval()
    features, again = backbone({"x": x}), backbone({"x": x})
    alone = [backbone({"x": row[None]}) for row in x]
    for key, value in features.items():
        assert torch.equal(again[key], value), key
        torch.testing.assert_close(torch.cat([one[key] for one in alone]), value, rtol=1e-4, atol=1e-5)


@BACKBONES
def test_a_saved_backbone_is_the_same_backbone(name: str, shape: tuple[int, ...]) -> None:
    saved, x = build_backbone(name, shape), inputs(shape)
    saved({"x": x})
    torch.manual_seed(1)
    other = build("backbone", name, input_shape=shape)
    other.load_state_dict(load(save(saved.state_dict())))
    expected, features = saved.eval()({"x": x}), other.eval()({"x": x})
    assert features.keys() == expected.keys()
    assert all(torch.equal(features[key], expected[key]) for key in expected)
