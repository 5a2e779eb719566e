"""The optimiser's state of a layer that reads sparse rows, written and read as that of nn.Linear.

Such a layer keeps its weight as D×L. A square state of nn.Linear's L×D would fit it, and be another one; so
it is L×D in every checkpoint, as the weight itself is (mlc/heads/linear_on_rows.py).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mlc.heads.linear_on_rows import LinearOnRows
from mlc.training.memory_light import BlockOptimizer
from mlc.training.state_form import keep_state_as


def keep_as_linear(optimizer: torch.optim.Optimizer, network: nn.Module) -> None:
    """Have the optimiser give and take the state of such layers' weights as L×D.

    The optimisers of this project keep D×L of both kinds of layers, and stay as they are.

    Args:
        optimizer: of the network.
        network: with any layers.
    """
    weights = [layer.weight_DL for layer in network.modules() if isinstance(layer, LinearOnRows)]
    if not weights or isinstance(optimizer, BlockOptimizer):
        return

    def turned(parameter: Tensor) -> Callable[[Tensor], Tensor] | None:
        return _turned if any(parameter is weight for weight in weights) else None

    def laid_out(parameter: Tensor) -> Callable[[Tensor], Tensor] | None:
        return _laid_out if any(parameter is weight for weight in weights) else None

    keep_state_as(optimizer, written=turned, read=laid_out)


def _turned(kept: Tensor) -> Tensor:
    """What is kept of each weight, the other way round, a view; what is kept of rows or columns stays."""
    return kept.T if kept.ndim == 2 else kept


def _laid_out(kept: Tensor) -> Tensor:
    return _turned(kept).contiguous()
