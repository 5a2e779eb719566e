import copy
from typing import Any

import pytest
import torch
from torch import nn

from mlc.backbones.flatten import Flatten
from mlc.backbones.mlp import MLP
from mlc.heads.linear_on_rows import LinearOnRows
from mlc.heads.sigmoid import SigmoidHead
from mlc.inputs import InputSpec, Kind
from mlc.model import Network
from mlc.rows import SparseRows
from mlc.training.optimizer_state import restore_optimizer
from mlc.training.parameter_groups import make_optimizer
from tests.contract.grid import build
from tests.unit.label_statistics import labels_with
from tests.unit.training.tiny import bits

SQUARE, WIDE = 3, 5  # columns, for three labels
NAMES = ["adamw", "sgd", "row_adagrad", "adafactor", "light_adam"]


def made(name: str, kind: Kind, width: int) -> tuple[Network, torch.optim.Optimizer]:
    """A linear head on sparse rows or on their numbers, from the same start."""
    torch.manual_seed(0)
    head = SigmoidHead(in_features=width, labels=labels_with([1.0] * 3, rows=9), prior_bias=False)
    network = Network(backbone=Flatten(inputs={"x": InputSpec(kind, (width,))}), head=head)

    def make(params: Any) -> torch.optim.Optimizer:
        if name == "torch_adafactor":
            return torch.optim.Adafactor(params, lr=0.1)
        optimizer: torch.optim.Optimizer = build("optimizer", name, params=params)
        return optimizer

    return network, make_optimizer(make, network)


def steps(network: Network, optimizer: torch.optim.Optimizer, *, of: int) -> torch.Tensor:
    """Weights as L×D after some steps, whose gradients are the same for both kinds of layers."""
    layer = network.head.logits
    assert isinstance(layer, nn.Linear | LinearOnRows)
    weight, bias = list(layer.parameters())
    generator = torch.Generator().manual_seed(of)
    for _ in range(of):
        gradient_LD = torch.randn(layer.out_features, layer.in_features, generator=generator)
        weight.grad = gradient_LD if isinstance(layer, nn.Linear) else gradient_LD.T.contiguous()
        bias.grad = torch.ones_like(bias)
        optimizer.step()
    return layer.weight.detach().clone()


@pytest.mark.parametrize("width", [SQUARE, WIDE])
@pytest.mark.parametrize("name", NAMES)
def test_a_state_of_nn_linear_is_taken_on_and_the_steps_after_it_are_the_same(name: str, width: int) -> None:
    """As a run of before there was such a layer left it; a square state must be turned, too."""
    (old, its), (new, own) = made(name, "numbers", width), made(name, "sparse", width)
    steps(old, its, of=2)
    state = copy.deepcopy(its.state_dict())
    new.load_state_dict(old.state_dict())
    restore_optimizer(own, state, steps=2)
    torch.testing.assert_close(steps(new, own, of=3), steps(old, its, of=3))


@pytest.mark.parametrize("width", [SQUARE, WIDE])
def test_a_state_that_is_no_matrix_of_the_weights_form_is_refused(width: int) -> None:
    """Torch's own Adafactor keeps a number per row and one per column, which change their places."""
    (old, its), (_, own) = made("torch_adafactor", "numbers", width), made("torch_adafactor", "sparse", width)
    steps(old, its, of=1)
    with pytest.raises(ValueError, match="another row_var of a parameter"):
        restore_optimizer(own, copy.deepcopy(its.state_dict()), steps=1)


@pytest.mark.parametrize("name", [*NAMES, "torch_adafactor"])
def test_a_state_comes_back_bit_for_bit_and_lies_as_the_weight_does(name: str) -> None:
    first, its = made(name, "sparse", WIDE)
    steps(first, its, of=2)
    state = copy.deepcopy(its.state_dict())
    second, own = made(name, "sparse", WIDE)
    second.load_state_dict(first.state_dict())
    restore_optimizer(own, copy.deepcopy(state), steps=2)
    assert bits(own.state_dict()) == bits(state)
    for network, optimizer in ((first, its), (second, own)):
        kept = optimizer.state[next(network.head.parameters())]
        assert all(value.is_contiguous() for value in kept.values() if isinstance(value, torch.Tensor))
    assert bits(steps(second, own, of=3)) == bits(steps(first, its, of=3))


def test_a_state_that_is_written_is_a_checkpoint_of_nn_linear() -> None:
    (dense, its), (sparse, own) = made("adamw", "numbers", WIDE), made("adamw", "sparse", WIDE)
    steps(dense, its, of=1)
    steps(sparse, own, of=1)
    assert own.state_dict()["state"][0]["exp_avg"].shape == (3, WIDE)
    for found, expected in zip(*(o.state_dict()["state"].values() for o in (own, its)), strict=True):
        torch.testing.assert_close(found, expected)


def test_a_weight_that_has_always_been_a_row_per_input_keeps_its_state() -> None:
    """That of a hidden layer on sparse rows."""
    inputs = {"x": InputSpec("sparse", (WIDE,))}
    backbone = MLP(inputs=inputs, widths=[WIDE], input_dropout=0.0, dropout=0.0, norm="none")
    head = SigmoidHead(in_features=WIDE, labels=labels_with([1.0] * 3, rows=9), prior_bias=False)
    network = Network(backbone=backbone, head=head)
    optimizer = make_optimizer(lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9), network)
    x = SparseRows(torch.tensor([0, 4]), torch.tensor([0]), torch.tensor([2]), None, WIDE)
    network({"x": x}).score_logits().sum().backward()
    optimizer.step()
    for parameter, kept in zip(network.parameters(), optimizer.state_dict()["state"].values(), strict=True):
        assert parameter.grad is not None
        assert torch.equal(kept["momentum_buffer"], parameter.grad)
