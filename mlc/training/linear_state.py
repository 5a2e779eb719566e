"""The optimiser's state of a layer that reads sparse rows, written and read as that of nn.Linear.

Such a layer keeps its weight as D×L. A square state of nn.Linear's L×D would fit it, and be another one; so
it is L×D in every checkpoint, as the weight itself is (mlc/heads/linear_on_rows.py).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mlc.heads.linear_on_rows import LinearOnRows
from mlc.training.memory_light import BlockOptimizer

State = dict[str, Any]


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

    def written(asked: torch.optim.Optimizer, state: State) -> State:
        return _changed(asked, state, weights, lambda matrix: matrix.T)

    def read(asked: torch.optim.Optimizer, state: State) -> State:
        return _changed(asked, state, weights, lambda matrix: matrix.T.contiguous())

    optimizer.register_state_dict_post_hook(written)
    optimizer.register_load_state_dict_pre_hook(read)


def _changed(
    optimizer: torch.optim.Optimizer,
    state: State,
    weights: Sequence[nn.Parameter],
    turn: Callable[[Tensor], Tensor],
) -> State:
    """The state with every matrix that is kept of these weights turned; what else is kept stays."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    states = dict(state["state"])
    for number, parameter in enumerate(parameters):
        if number in states and any(parameter is weight for weight in weights):
            states[number] = {
                name: turn(value) if isinstance(value, Tensor) and value.ndim == 2 else value
                for name, value in states[number].items()
            }
    return {**state, "state": states}
