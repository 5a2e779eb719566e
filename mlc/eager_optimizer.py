"""Optimisers of torch without what guards them against torch.compile.

Each method of a torch optimiser that makes it, steps, or reads its state first imports `torch._dynamo`: 800
modules, 80 MB, and a second of every start. The guards tell the compiler to leave these methods alone, and
nothing here ever compiles an optimiser (`trainer.compile` compiles backbone and head).
"""

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar, cast

import torch
from torch.optim.optimizer import Optimizer

from mlc.lean_adam import lean

_GUARDED = ("add_param_group", "state_dict", "load_state_dict", "zero_grad")


Kind = TypeVar("Kind", bound=Optimizer)


def eager(kind: type[Kind]) -> type[Kind]:
    """The same optimiser, with its methods as they are inside their decorators.

    Its steps run no hooks, and stand in a profile without a line of their own.

    Args:
        kind: a class of `torch.optim`.
    """
    return cast(type[Kind], _eager(kind))  # type: ignore[arg-type]  # mypy: a type is not Hashable


@cache
def _eager(kind: type[Optimizer]) -> type[Optimizer]:
    inner = inspect.unwrap(kind.step)
    if issubclass(kind, torch.optim.Adam):
        inner = lean(inner)

    def step(self: Optimizer, closure: Callable[[], Any] | None = None) -> Any:
        with torch.set_grad_enabled(bool(self.defaults.get("differentiable", False))):
            return inner(self, closure)

    step.hooked = True  # type: ignore[attr-defined]  # else the constructor would wrap it again
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in _GUARDED}
    named = {"__module__": kind.__module__, "__doc__": kind.__doc__}
    return type(kind.__name__, (kind,), {**named, "step": step, **methods})
