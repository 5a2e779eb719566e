"""What an optimiser must keep of a parameter: torch's, ours and those of others, and before a step."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from mlc.eager_optimizer import eager
from mlc.training.optimizer_state import restore_optimizer
from tests.contract.grid import build, names
from tests.unit.training.tiny import bits


class Factors(torch.optim.Optimizer):
    """Somebody's own: a number per row, a count under another name, and from the second step on a third."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {"lr": 0.1})

    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                state.setdefault("seen", 0)
                state["rows"] = state.get("rows", 0) + parameter.grad.square().sum(-1)
                state["seen"] += 1
                if state["seen"] > 1:
                    state["late"] = parameter.grad.clone()


def made(kind: Any, **options: Any) -> torch.optim.Optimizer:
    """Of two parameters, as a run makes it."""
    optimizer: torch.optim.Optimizer = eager(kind)(
        [nn.Parameter(torch.ones(4, 5)), nn.Parameter(torch.ones(2))], **options
    )
    return optimizer


def state_after(optimizer: torch.optim.Optimizer, *, of: int, steps: int = 1) -> dict[str, Any]:
    """The state when so many of its parameters have had a gradient."""
    for parameter in optimizer.param_groups[0]["params"][:of]:
        parameter.grad = torch.ones_like(parameter)
    for _ in range(steps):
        optimizer.step()
    return copy.deepcopy(optimizer.state_dict())


KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "own": (Factors, {}),
    "NAdam": (torch.optim.NAdam, {}),
    "ASGD": (torch.optim.ASGD, {}),
    "Rprop": (torch.optim.Rprop, {}),
    "amsgrad": (torch.optim.AdamW, {"amsgrad": True, "fused": True}),
    "factors": (torch.optim.Adafactor, {}),
    "centred": (torch.optim.RMSprop, {"centered": True, "momentum": 0.5}),
}


@pytest.mark.parametrize("of", [0, 1, 2])
@pytest.mark.parametrize("name", KINDS)
def test_the_state_of_any_optimiser_comes_back_also_where_a_parameter_has_had_no_step(
    name: str, of: int
) -> None:
    kind, options = KINDS[name]
    state = state_after(made(kind, **options), of=of)
    assert len(state["state"]) == of
    other = made(kind, **options)
    restore_optimizer(other, copy.deepcopy(state), steps=1)
    assert bits(other.state_dict()) == bits(state)


@pytest.mark.parametrize(
    ("name", "kept", "value"),
    [
        ("NAdam", "mu_product", torch.ones(4, 5)),
        ("ASGD", "ax", torch.ones(5, 4)),
        ("amsgrad", "max_exp_avg_sq", torch.ones(4)),
        ("centred", "grad_avg", None),
        ("factors", "row_var", torch.ones(1, 5)),
        ("factors", "col_var", torch.ones(5)),
    ],
)
def test_something_else_in_its_place_is_refused(name: str, kept: str, value: Any) -> None:
    kind, options = KINDS[name]
    state = state_after(made(kind, **options), of=2)
    assert kept in state["state"][0]
    state["state"][0][kept] = value
    with pytest.raises(ValueError, match=f"another {kept} of a parameter"):
        restore_optimizer(made(kind, **options), state, steps=1)


@pytest.mark.parametrize("name", names("optimizer"))
@pytest.mark.parametrize("sides", [(), (5,), (4, 5), (3, 2, 3, 3)], ids=str)
def test_every_shipped_optimiser_goes_on_as_if_nothing_had_been(name: str, sides: tuple[int, ...]) -> None:
    def parameters() -> list[nn.Parameter]:
        return [nn.Parameter(torch.ones(sides)), nn.Parameter(torch.ones(2, 2))]

    ours, theirs = parameters(), parameters()
    one, other = (build("optimizer", name, params=each) for each in (ours, theirs))
    restored = state_after(one, of=2)
    restore_optimizer(other, restored, steps=1)
    for mine, same in zip(ours, theirs, strict=True):
        same.data.copy_(mine.data)
    assert bits(state_after(one, of=2)) == bits(state_after(other, of=2))
    assert bits(ours) == bits(theirs)


def test_a_group_keeps_other_things_of_its_vectors_than_of_its_matrices() -> None:
    state = state_after(made(torch.optim.Adafactor), of=2)
    assert [kept.keys() - {"step"} for kept in state["state"].values()] == [
        {"row_var", "col_var"},
        {"variance"},
    ]
    state["state"][0], state["state"][1] = state["state"][1], state["state"][0]
    with pytest.raises(ValueError, match="keeps"):
        restore_optimizer(made(torch.optim.Adafactor), state, steps=1)


@pytest.mark.parametrize("steps", [1, 2])
def test_what_somebodys_own_keeps_and_when_is_not_compared(steps: int) -> None:
    state = state_after(made(Factors), of=2, steps=steps)
    assert ("late" in state["state"][0]) == (steps > 1)
    state["state"][0]["rows"] = torch.ones(7, 7)
    other = made(Factors)
    restore_optimizer(other, copy.deepcopy(state), steps=steps)
    assert bits(other.state_dict()) == bits(state)


@pytest.mark.parametrize(("place", "kept", "says"), [(7, {}, "not there"), (0, "os.system", "no mapping")])
def test_the_state_of_somebodys_own_is_a_mapping_for_each_parameter(place: int, kept: Any, says: str) -> None:
    state = state_after(made(Factors), of=2)
    state["state"][place] = kept
    with pytest.raises(ValueError, match=says):
        restore_optimizer(made(Factors), state, steps=1)
