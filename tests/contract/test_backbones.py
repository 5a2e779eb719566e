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


@pytest.mark.parametrize("name", ["linear", "mlp", "wide_mlp"])
def test_backbones_for_tables_suit_tables(name: str) -> None:
    assert suits(name, (10,))


@BACKBONES
def test_out_features_is_the_width_of_what_comes_out(name: str, shape: tuple[int, ...]) -> None:
    backbone = build_backbone(name, shape)
    features_BD = backbone({"x": inputs(shape)})
    assert features_BD.shape == (ROWS, backbone.out_features)
    assert features_BD.isfinite().all()


@BACKBONES
def test_gradient_reaches_every_parameter(name: str, shape: tuple[int, ...]) -> None:
    backbone = build_backbone(name, shape)
    features_BD = backbone({"x": inputs(shape).requires_grad_()})  # a backbone may have no parameters
    (features_BD * torch.randn(features_BD.shape)).sum().backward()
    for parameter_name, parameter in backbone.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.any(), parameter_name


@BACKBONES
def test_features_depend_on_every_input(name: str, shape: tuple[int, ...]) -> None:
    x = inputs(shape).requires_grad_()
    features_BD = build_backbone(name, shape).eval()({"x": x})
    (features_BD * torch.randn(features_BD.shape)).sum().backward()
    assert x.grad is not None
    assert x.grad.ne(0).any(0).all()


@BACKBONES
def test_evaluation_is_deterministic_and_each_row_is_its_own(name: str, shape: tuple[int, ...]) -> None:
    backbone, x = build_backbone(name, shape), inputs(shape)
    backbone({"x": x})  # a step of training, so that running statistics are not at their start
    backbone.eval()
    features_BD = backbone({"x": x})
    assert torch.equal(backbone({"x": x}), features_BD)
    alone = torch.cat([backbone({"x": row[None]}) for row in x])
    torch.testing.assert_close(alone, features_BD, rtol=1e-4, atol=1e-5)


@BACKBONES
def test_a_saved_backbone_is_the_same_backbone(name: str, shape: tuple[int, ...]) -> None:
    saved, x = build_backbone(name, shape), inputs(shape)
    saved({"x": x})
    torch.manual_seed(1)
    other = build("backbone", name, input_shape=shape)
    other.load_state_dict(load(save(saved.state_dict())))
    assert torch.equal(other.eval()({"x": x}), saved.eval()({"x": x}))
