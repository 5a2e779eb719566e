"""An optimiser's state in another form in checkpoints than in memory."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

State = dict[str, Any]
# From a parameter to what changes each tensor that is kept of it; None where that stays as it is.
Change = Callable[[Tensor], Callable[[Tensor], Tensor] | None]


def keep_state_as(optimizer: torch.optim.Optimizer, *, written: Change, read: Change) -> None:
    """Have the optimiser give its state in another form, and take it in that form.

    Numbers and counters of steps stay as they are.

    Args:
        optimizer: gets hooks.
        written: changes what `state_dict` gives.
        read: changes what `load_state_dict` takes back.
    """
    optimizer.register_state_dict_post_hook(lambda asked, state: _changed(asked, state, written))
    optimizer.register_load_state_dict_pre_hook(lambda asked, state: _changed(asked, state, read))


def _changed(optimizer: torch.optim.Optimizer, state: State, change_of: Change) -> State:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    states = dict(state["state"])
    for number, parameter in enumerate(parameters):
        change = change_of(parameter)
        if change is not None and number in states:
            states[number] = {
                name: change(value) if isinstance(value, Tensor) and value.ndim else value
                for name, value in states[number].items()
            }
    return {**state, "state": states}
