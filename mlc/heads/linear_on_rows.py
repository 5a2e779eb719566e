"""A head's linear layer that reads sparse rows as they are."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mlc.batch import BatchInput
from mlc.heads.base import Head
from mlc.rows import RowPerInput


class LinearOnRows(nn.Module):
    """What nn.Linear computes; for sparse rows at the cost of the entries that are there.

    The weight is kept as D×L, so that a row of a batch adds up rows of it. Its gradient is dense: the moments
    of a column move on also in steps whose batch lacks it, as they do in nn.Linear.

    The state has the weight as nn.Linear has it, L×D, so that each of the two layers reads what the other
    wrote.

    Args:
        linear: whose numbers it takes over; it has a bias.
    """

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.in_features = linear.in_features
        self.out_features = linear.out_features
        self.weight_DL = RowPerInput(linear.weight.detach().T.clone(memory_format=torch.contiguous_format))
        self.bias = linear.bias
        self.register_state_dict_post_hook(_as_linear)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_from_linear)  # type: ignore[no-untyped-call]

    @property
    def weight(self) -> Tensor:
        """The weight as nn.Linear has it, L×D; a view."""
        return self.weight_DL.T

    def forward(self, x_BD: BatchInput) -> Tensor:
        """B×L."""
        return x_BD @ self.weight_DL + self.bias


def let_read_rows(head: Head) -> None:
    """Have a head's layers on the features read sparse rows, from the same start as before."""
    for name in head.sparse_layers:
        layer = getattr(head, name)
        if isinstance(layer, nn.Linear):
            setattr(head, name, LinearOnRows(layer))


def reads_rows(head: Head) -> bool:
    """Whether the head can be given sparse rows as they are."""
    layers = [getattr(head, name) for name in head.sparse_layers]
    return bool(layers) and not any(isinstance(layer, nn.Linear) for layer in layers)


def _as_linear(layer: nn.Module, state: dict[str, Any], prefix: str, _: Mapping[str, Any]) -> None:
    state[f"{prefix}weight"] = state.pop(f"{prefix}weight_DL").T


def _from_linear(layer: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    if f"{prefix}weight" in state:
        state[f"{prefix}weight_DL"] = state.pop(f"{prefix}weight").T
