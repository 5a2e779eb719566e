"""The lean step of Adam takes torch's step to the last bit, and leaves to torch what is not plain."""

from typing import Any

import pytest
import torch
from torch import nn

from mlc.eager_optimizer import eager
from mlc.lean_adam import lean

KINDS = (torch.optim.Adam, torch.optim.AdamW)


def parameters(dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((4, 3), (3,), (2, 2, 2), ())
    return [nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in shapes]


def trained(
    optimizer: torch.optim.Optimizer, weights: list[nn.Parameter], steps: int = 5
) -> tuple[list[torch.Tensor], dict[str, Any]]:
    """Some steps; the second parameter has no gradient in every second one."""
    for i in range(steps):
        loss = sum((weight.sin() * weight).sum() for k, weight in enumerate(weights) if k != 1 or i % 2)
        optimizer.zero_grad()
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] *= 0.9  # as a schedule does
        optimizer.step()
    return [weight.detach() for weight in weights], optimizer.state_dict()


def in_groups(weights: list[nn.Parameter]) -> list[dict[str, Any]]:
    return [{"params": weights[:1], "weight_decay": 0.1}, {"params": weights[1:], "lr": 0.05}]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"amsgrad": True}, {"maximize": True}, {"fused": False}], ids=str)
def test_steps_and_state_equal_torchs(kind: type[torch.optim.Adam], options: dict[str, Any]):
    ends = []
    for make in (eager(kind), kind):
        weights = parameters()
        given = {"lr": 0.1, "betas": (0.8, 0.95), "fused": True} | options
        ends.append(trained(make(in_groups(weights), **given), weights))
    (own, own_state), (theirs, their_state) = ends
    assert all(torch.equal(a, b) for a, b in zip(own, theirs, strict=True))
    torch.testing.assert_close(own_state, their_state, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "dtype", "asked"),
    [
        ({"fused": True}, torch.float32, 2),  # once for each parameter that has no state yet
        ({"fused": True}, torch.float64, 5),
        ({"fused": False}, torch.float32, 5),
        ({"fused": True, "amsgrad": True}, torch.float32, 5),
    ],
)
def test_torch_is_asked_where_it_is_not_plain(options: dict[str, Any], dtype: torch.dtype, asked: int):
    weights = parameters(dtype)
    optimizer = torch.optim.Adam(weights, lr=0.1, **options)
    calls = []

    def step(own: torch.optim.Adam, closure: None) -> None:
        calls.append(own)
        torch.optim.Adam.step(own, closure)

    take = lean(step)
    for i in range(5):
        for k, weight in enumerate(weights):
            weight.grad = torch.ones_like(weight) if k != 1 or i else None
        take(optimizer)
    assert len(calls) == asked


def test_a_closure_is_called_by_torch():
    weight = nn.Parameter(torch.tensor(1.0))
    optimizer = eager(torch.optim.Adam)([weight], lr=0.1, fused=True)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = weight.square()
        loss.backward()
        return loss.detach()

    assert [float(optimizer.step(closure)) for _ in range(2)] == pytest.approx([1.0, 0.81])


def test_a_step_without_gradients_changes_nothing():
    weights = parameters()
    optimizer = eager(torch.optim.Adam)(in_groups(weights), lr=0.1, fused=True)
    trained(optimizer, weights)
    before = [weight.clone() for weight in weights]
    optimizer.zero_grad()
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(before, weights, strict=True))
