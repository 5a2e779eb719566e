"""The optimiser's state of a label layer in shards, written and read as one process has it.

The main process puts the shards together, one block after another, when it is asked for the state; each
process takes its own blocks out of a state that is loaded. So a run goes on in any number of processes.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from mlc.training.label_layer import LabelBlocks
from mlc.training.state_form import keep_state_as


def keep_shards(optimizer: torch.optim.Optimizer, layer: LabelBlocks) -> None:
    """Have the optimiser give and take its state as if one process held all labels.

    All processes ask for the state together; that of the main process is whole.

    Args:
        optimizer: of the network.
        layer: in shards, whose weight and bias are among its parameters.
    """

    def gathered(parameter: Tensor) -> Callable[[Tensor], Tensor] | None:
        if parameter is layer.weight_KDC:
            return layer.shards.whole
        return (lambda kept: _whole(layer, kept)) if parameter is layer.bias_L else None

    def cut(parameter: Tensor) -> Callable[[Tensor], Tensor] | None:
        own, labels = layer.own, layer.own_labels
        if parameter is layer.weight_KDC:
            return lambda kept: kept[own.start : own.stop].clone()
        return (lambda kept: kept[..., labels].clone()) if parameter is layer.bias_L else None

    keep_state_as(optimizer, written=gathered, read=cut)


def _whole(layer: LabelBlocks, own: Tensor) -> Tensor:
    """What is kept of each bias, last dimension, of all labels."""
    shards, main = layer.shards, layer.shards.rank == 0
    parts = []
    for rank in range(shards.world):
        blocks = shards.of(rank)
        labels = layer.labels(blocks[-1]).stop - layer.labels(blocks[0]).start
        parts.append(shards.fetch(own, blocks[0], shape=(*own.shape[:-1], labels)).cpu())
    return torch.cat(parts, dim=-1) if main else own
