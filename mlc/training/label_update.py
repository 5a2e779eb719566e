"""The optimiser's step of one block of labels, taken as soon as its gradient is there.

The gradient of very many labels is as large as their weights. A block's gradient that is used at once is not
written to memory and not read again, which saves both the space and the time.

It is the step of the run's own optimiser: options, learning rate and state are those of its parameter group
and its state, so schedules and checkpoints know nothing of it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim.adagrad import adagrad
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from mlc.errors import UserError
from mlc.training.label_layer import LabelBlocks
from mlc.training.memory_light import BlockOptimizer, group_of

Group = dict[str, Any]
State = dict[str, Any]


class _Rule(ABC):
    """How an optimiser of torch.optim changes a part of a parameter."""

    @abstractmethod
    def start(self, weight: Tensor, group: Group) -> State:
        """The state before the first step, as the optimiser itself would make it."""

    @abstractmethod
    def update(self, weight: Tensor, gradient: Tensor, state: State, group: Group) -> None:
        """Change the weight, and the state; "step" is that of the step before."""


class _Adam(_Rule):
    def start(self, weight: Tensor, group: Group) -> State:
        return {"exp_avg": torch.zeros_like(weight), "exp_avg_sq": torch.zeros_like(weight)}

    def update(self, weight: Tensor, gradient: Tensor, state: State, group: Group) -> None:
        beta1, beta2 = group["betas"]
        adam(
            [weight],
            [gradient],
            [state["exp_avg"]],
            [state["exp_avg_sq"]],
            [],
            [state["step"]],
            fused=True,
            decoupled_weight_decay=group["decoupled_weight_decay"],
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=group["maximize"],
        )


class _SGD(_Rule):
    def start(self, weight: Tensor, group: Group) -> State:
        # From 0 the first step is the optimiser's own, because there is no dampening.
        return {"momentum_buffer": torch.zeros_like(weight)} if group["momentum"] else {}

    def update(self, weight: Tensor, gradient: Tensor, state: State, group: Group) -> None:
        sgd(
            [weight],
            [gradient],
            [state.get("momentum_buffer")],
            fused=True,
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            lr=group["lr"],
            dampening=0.0,
            nesterov=group["nesterov"],
            maximize=group["maximize"],
        )


class _Adagrad(_Rule):
    def start(self, weight: Tensor, group: Group) -> State:
        return {"sum": torch.full_like(weight, group["initial_accumulator_value"])}

    def update(self, weight: Tensor, gradient: Tensor, state: State, group: Group) -> None:
        adagrad(
            [weight],
            [gradient],
            [state["sum"]],
            [state["step"]],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            lr_decay=group["lr_decay"],
            eps=group["eps"],
            maximize=group["maximize"],
        )


_RULES: Mapping[type[torch.optim.Optimizer], _Rule] = {
    torch.optim.Adam: _Adam(),
    torch.optim.AdamW: _Adam(),
    torch.optim.SGD: _SGD(),
    torch.optim.Adagrad: _Adagrad(),
}
_REFUSED = ("amsgrad", "dampening")


def can_update_blocks(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the optimiser's step of a block needs nothing but the block."""
    if isinstance(optimizer, BlockOptimizer):
        return True
    return _rule(optimizer) is not None and not any(optimizer.defaults.get(name) for name in _REFUSED)


def _rule(optimizer: torch.optim.Optimizer) -> _Rule | None:
    """How an optimiser changes a part; this project's own subclasses of torch's change nothing of that."""
    return next((_RULES[kind] for kind in type(optimizer).__mro__ if kind in _RULES), None)


class BlockUpdate:
    """Takes the step of an optimiser block by block.

    Args:
        optimizer: of the network, with `can_update_blocks`.
        layer: whose weight is one of its parameters.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, layer: LabelBlocks):
        self._optimizer = optimizer
        self._weight_KDC = layer.weight_KDC
        self._rule = _rule(optimizer)
        self._group: Group = {}
        self._state: State = {}
        self._before = torch.zeros(())
        self._counter = torch.zeros(())

    @torch.no_grad()
    def begin(self) -> None:
        """Before the first block of a step."""
        weight_KDC, optimizer = self._weight_KDC, self._optimizer
        if isinstance(optimizer, BlockOptimizer):
            optimizer.begin(weight_KDC)
            return
        assert self._rule is not None, "can_update_blocks() has been asked"
        # Looked up each time: a loaded checkpoint replaces groups and state.
        self._group = group_of(optimizer, weight_KDC)
        self._state = optimizer.state[weight_KDC]
        if "step" not in self._state:  # torch's SGD does not count, so it may have the rest
            fresh = self._rule.start(weight_KDC, self._group)
            self._state.update({"step": torch.zeros((), device=weight_KDC.device), **fresh, **self._state})
        self._before = self._state["step"].clone()
        self._counter = self._before.clone()
        self._state["step"] += 1

    @torch.no_grad()
    def __call__(self, block: int, gradient_DC: Tensor) -> None:
        """Take the step of one block."""
        if isinstance(self._optimizer, BlockOptimizer):
            self._optimizer.update_block(self._weight_KDC, block, gradient_DC)
            return
        parts = {
            name: value[block]
            for name, value in self._state.items()
            if isinstance(value, Tensor) and name != "step"
        }
        # Torch counts every call, and the blocks take one step together.
        parts["step"] = self._counter.copy_(self._before)
        assert self._rule is not None, "can_update_blocks() has been asked"
        self._rule.update(self._weight_KDC[block], gradient_DC, parts, self._group)


def keep_blocks(optimizer: torch.optim.Optimizer, layer: LabelBlocks) -> None:
    """Have the optimiser remember how the weight was cut, and refuse a state that was cut otherwise.

    Args:
        optimizer: of the network.
        layer: whose weight is one of its parameters.
    """
    group_of(optimizer, layer.weight_KDC)["label_chunk"] = layer.size

    def check(loaded: torch.optim.Optimizer) -> None:
        size = group_of(loaded, layer.weight_KDC).get("label_chunk")
        if size != layer.size:
            raise UserError(
                f"this run was trained with trainer.label_chunk={size or 'null'}, and its optimiser's state "
                f"does not fit trainer.label_chunk={layer.size}: leave the option as it was"
            )

    optimizer.register_load_state_dict_post_hook(check)
