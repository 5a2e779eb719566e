"""The optimiser's state of a label layer in shards, written and read as one process has it.

The main process puts the shards together, one block after another, when it is asked for the state; each
process takes its own blocks out of a state that is loaded. So a run goes on in any number of processes.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from mlc.training.label_layer import LabelBlocks

State = dict[str, Any]


def keep_shards(optimizer: torch.optim.Optimizer, layer: LabelBlocks) -> None:
    """Have the optimiser give and take its state as if one process held all labels.

    All processes ask for the state together; that of the main process is whole.

    Args:
        optimizer: of the network.
        layer: in shards, whose weight and bias are among its parameters.
    """

    def gathered(asked: torch.optim.Optimizer, state: State) -> State:
        return _changed(
            asked, layer, state, weight=layer.shards.whole, bias=lambda value: _whole(layer, value)
        )

    def cut(asked: torch.optim.Optimizer, state: State) -> State:
        own, labels = layer.own, layer.own_labels
        return _changed(
            asked,
            layer,
            state,
            weight=lambda value: value[own.start : own.stop].clone(),
            bias=lambda value: value[..., labels].clone(),
        )

    optimizer.register_state_dict_post_hook(gathered)
    optimizer.register_load_state_dict_pre_hook(cut)


def _changed(
    optimizer: torch.optim.Optimizer,
    layer: LabelBlocks,
    state: State,
    *,
    weight: Callable[[Tensor], Tensor],
    bias: Callable[[Tensor], Tensor],
) -> State:
    """The state with what belongs to the layer changed; numbers and counters of steps stay."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    states = dict(state["state"])
    for number, parameter in enumerate(parameters):
        change = weight if parameter is layer.weight_KDC else bias if parameter is layer.bias_L else None
        if change is not None and number in states:
            states[number] = _each(states[number], change)
    return {**state, "state": states}


def _each(values: Mapping[str, Any], change: Callable[[Tensor], Tensor]) -> State:
    return {
        name: change(value) if isinstance(value, Tensor) and value.ndim else value
        for name, value in values.items()
    }


def _whole(layer: LabelBlocks, own: Tensor) -> Tensor:
    """What is kept of each bias, last dimension, of all labels."""
    shards, main = layer.shards, layer.shards.rank == 0
    parts = []
    for rank in range(shards.world):
        blocks = shards.of(rank)
        labels = layer.labels(blocks[-1]).stop - layer.labels(blocks[0]).start
        parts.append(shards.fetch(own, blocks[0], shape=(*own.shape[:-1], labels)).cpu())
    return torch.cat(parts, dim=-1) if main else own
