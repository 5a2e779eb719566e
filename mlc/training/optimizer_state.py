"""Taking back the state of an optimiser, if it is one that its steps can use.

`load_state_dict` looks at the number of groups and parameters only. What a step would then trip over, or read
past the end of, is found here: the state of every parameter against what the same optimiser keeps of another.

Only torch and this project keep the same of every parameter with as many dimensions, from its first step on.
What an optimiser of others keeps, and when, only its own code knows: nothing of that is compared.
"""

import copy
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mlc.training.memory_light import BlockOptimizer
from mlc.training.position import is_count

_OWN = ("torch", "mlc")  # whose optimisers are known
_STEP = "step"  # how often torch and this project count


class _Example(NamedTuple):
    """A small parameter, and what the optimiser keeps of it."""

    parameter: Tensor
    state: Mapping[str, Any]


def restore_optimizer(optimizer: torch.optim.Optimizer, state: Any, *, steps: int) -> None:
    """Take a stored state back; the options of the groups stay those of the config.

    Args:
        optimizer: before its first step.
        state: what `state_dict()` was.
        steps: that the run has taken; no parameter has taken more.

    Raises:
        ValueError, TypeError, LookupError, AttributeError: it is not the state of such an optimiser.
        UserError: the optimiser itself refuses it.
    """
    start = 0
    for group, given in zip(optimizer.param_groups, state["param_groups"], strict=True):
        end = start + len(group["params"])
        if given["params"] != list(range(start, end)):
            raise ValueError("the groups of its optimiser have other parameters")
        start = end
    options = [{key: group[key] for key in group if key != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, own in zip(optimizer.param_groups, options, strict=True):
        for key in group.keys() - own.keys() - {"params"}:
            del group[key]
        group.update(own)
    _check_state(optimizer, steps=steps)


def _check_state(optimizer: torch.optim.Optimizer, *, steps: int) -> None:
    left = dict(optimizer.state)
    known = _is_known(optimizer)
    examples = _examples(optimizer) if known else []
    for place, group in enumerate(optimizer.param_groups):
        for parameter in group["params"]:
            kept = left.pop(parameter, {})
            if not isinstance(kept, Mapping):
                raise ValueError("its optimiser keeps no mapping of a parameter")
            if known:
                _check_kept(kept, _kept_of(optimizer, parameter, examples[place]), steps=steps)
    if left:
        raise ValueError("its optimiser has a state of parameters that are not there")


def _is_known(optimizer: torch.optim.Optimizer) -> bool:
    """Whether no part of its code is of others; mlc.eager_optimizer makes a class of ours from any."""
    classes = type(optimizer).__mro__
    return all(
        kind.__module__.partition(".")[0] in _OWN for kind in classes[: classes.index(torch.optim.Optimizer)]
    )


def _check_kept(kept: Mapping[str, Any], wanted: Mapping[str, torch.Size | type], *, steps: int) -> None:
    """Check what is kept of a parameter; nothing is kept before its first step."""
    if not kept:
        return
    # In a pass over labels every optimiser counts (mlc/training/label_update.py).
    if kept.keys() - {_STEP} != wanted.keys() - {_STEP} or wanted.keys() - kept.keys():
        raise ValueError(f"its optimiser keeps {', '.join(map(str, kept))[:200]} of a parameter")
    for name, value in kept.items():
        right = _is_step(value, most=steps) if name == _STEP else _is_such(value, wanted[name])
        if not right:
            raise ValueError(f"its optimiser has another {name} of a parameter")


def _is_step(value: object, *, most: int) -> bool:
    if isinstance(value, Tensor):
        return value.ndim == 0 and value.is_floating_point() and 0 <= float(value) <= most
    return is_count(value, most=most)


def _is_such(value: object, wanted: torch.Size | type) -> bool:
    if isinstance(wanted, torch.Size):
        return isinstance(value, Tensor) and value.shape == wanted
    return isinstance(value, wanted)


def _examples(optimizer: torch.optim.Optimizer) -> list[Mapping[int, _Example]]:
    """An example for each number of dimensions in each group, from a step of a copy of the optimiser."""
    if isinstance(optimizer, BlockOptimizer):
        return [{} for _ in optimizer.param_groups]
    by_group = []
    memo: dict[int, Any] = {id(optimizer.state): defaultdict(dict)}
    for group in optimizer.param_groups:
        by_ndim = {like.ndim: _small_one(like) for like in group["params"]}
        by_group.append(by_ndim)
        memo[id(group["params"])] = list(by_ndim.values())
    other = copy.deepcopy(optimizer, memo)
    other.step()
    return [{ndim: _Example(one, other.state[one]) for ndim, one in by_ndim.items()} for by_ndim in by_group]


def _small_one(like: Tensor) -> torch.nn.Parameter:
    """A parameter with as many dimensions, of 2, 3, 4, ... numbers; its gradient is 0."""
    shape = tuple(range(2, 2 + like.ndim))
    parameter = torch.nn.Parameter(torch.zeros(shape, dtype=like.dtype, device=like.device))
    parameter.grad = torch.zeros_like(parameter)
    return parameter


def _kept_of(
    optimizer: torch.optim.Optimizer, parameter: Tensor, examples: Mapping[int, _Example]
) -> dict[str, torch.Size | type]:
    """The shape of everything that is kept of a parameter; its type where nobody knows the shape."""
    if isinstance(optimizer, BlockOptimizer):
        kept = optimizer.start_like(parameter)
        return {_STEP: int, **{name: value.shape for name, value in kept.items()}}
    example = examples[parameter.ndim]
    return {name: _form(value, example.parameter, parameter) for name, value in example.state.items()}


def _form(value: object, example: Tensor, parameter: Tensor) -> torch.Size | type:
    """What the parameter's is to be, where this value is kept of the example: its shape, or only its type.

    A dimension is as long as the parameter's, or 1: torch's Adafactor keeps means over rows and over columns.
    """
    if not isinstance(value, Tensor):
        return type(value)
    if value.ndim == 0:
        return value.shape
    lengths = {1: 1, **dict(zip(example.shape, parameter.shape, strict=True))}
    if value.ndim != example.ndim or not lengths.keys() >= set(value.shape):
        return type(value)
    return torch.Size(lengths[length] for length in value.shape)
