"""A step of Adam with little Python around the arithmetic.

torch's own fused step asks several questions about each parameter, and groups all by device and type, each
time anew. For a small network on a processor that takes as long as the arithmetic.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Adam

Step = Callable[..., Any]

_PLAIN = {"fused": True, "amsgrad": False, "maximize": False, "differentiable": False}


class _Group(NamedTuple):
    """The tensors of a group that take a step: parameters, gradients, and what Adam keeps of each."""

    parameters: list[Tensor]
    gradients: list[Tensor]
    means: list[Tensor]
    squares: list[Tensor]
    steps: list[Tensor]


def lean(step: Step) -> Step:
    """A step of Adam or AdamW, the same to the last bit, that is quick in the plain case.

    That is: fused, on a processor, dense float32, each parameter has taken a step before, and no scaler of
    gradients has its say. All else goes to `step`.

    Args:
        step: of torch.
    """

    def lean_step(optimizer: Adam, closure: Callable[[], Any] | None = None) -> Any:
        found = [_plain(optimizer, group) for group in optimizer.param_groups]
        tensors = [group for group in found if group is not None]
        scaled = getattr(optimizer, "found_inf", None) is not None  # it says whether to leave the step out
        if scaled or closure is not None or len(tensors) < len(found):
            return step(optimizer, closure)
        for options, group in zip(optimizer.param_groups, tensors, strict=True):
            _take(options, group)
        return None

    return lean_step


def _plain(optimizer: Adam, options: Mapping[str, Any]) -> _Group | None:
    """The tensors of a group; None where it is not the plain case."""
    if any(options[key] is not value for key, value in _PLAIN.items()):
        return None
    parameters = [p for p in options["params"] if p.grad is not None]
    gradients: list[Any] = [p.grad for p in parameters]
    kept = [optimizer.state[p] for p in parameters]
    for p, gradient, state in zip(parameters, gradients, kept, strict=True):
        if not (state and p.is_cpu and p.dtype is torch.float32 and gradient.layout is torch.strided):
            return None
    return _Group(
        parameters,
        gradients,
        [state["exp_avg"] for state in kept],
        [state["exp_avg_sq"] for state in kept],
        [state["step"] for state in kept],
    )


def _take(options: Mapping[str, Any], group: _Group) -> None:
    if not group.parameters:
        return
    torch._foreach_add_(group.steps, 1)
    update = torch._fused_adamw_ if options.get("decoupled_weight_decay") else torch._fused_adam_
    beta1, beta2 = options["betas"]
    update(
        group.parameters,
        group.gradients,
        group.means,
        group.squares,
        [],
        group.steps,
        lr=options["lr"],
        beta1=beta1,
        beta2=beta2,
        weight_decay=options["weight_decay"],
        eps=options["eps"],
        amsgrad=False,
        maximize=False,
    )
