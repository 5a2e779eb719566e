"""A linear layer over very many labels, whose weights lie in blocks of labels."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mlc.training.label_features import Features
from mlc.training.memory_light import BlockedWeight

_BLOCK_NUMBERS = (
    2**20
)  # of a block; so many float32 weights, their gradient and two moments fit a large cache
_FEWEST_LABELS = 64  # of a block: below, calls cost more than the cache saves
_ALIGNED = 16  # float32 numbers of a cache line


def block_size(in_features: int, n_labels: int) -> int:
    """How many labels a block has where nobody says: few enough that its numbers stay in the cache.

    A fixed rule of D and L, so that a resumed run finds the same blocks.

    Args:
        in_features: D.
        n_labels: L.
    """
    wanted = max(_FEWEST_LABELS, _BLOCK_NUMBERS // in_features)
    even = math.ceil(n_labels / math.ceil(n_labels / wanted))
    return min(n_labels, math.ceil(even / _ALIGNED) * _ALIGNED)


class LabelBlocks(nn.Module):
    """What nn.Linear computes, cut into K blocks of C labels, each one contiguous D×C matrix.

    A block is read, its gradient taken and its weights changed while all of it is in the cache. It is D×C,
    because sparse rows then multiply it by adding up rows of C numbers. The last block is filled up with
    columns that no label has: they start at 0, and their gradient is 0.

    The state has the weight as nn.Linear has it, L×D, so that each of the two layers reads what the other
    wrote.

    Args:
        linear: whose numbers it takes over; it has a bias.
        size: C, labels of a block.
    """

    def __init__(self, linear: nn.Linear, *, size: int):
        super().__init__()
        self.in_features = linear.in_features
        self.out_features = linear.out_features
        self.size = size
        blocks = math.ceil(linear.out_features / size)
        self.weight_KDC = BlockedWeight(linear.weight.detach().new_zeros(blocks, linear.in_features, size))
        self.bias_L = nn.Parameter(linear.bias.detach().clone())
        self._fill(linear.weight.detach())
        self.register_state_dict_post_hook(_as_linear)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_from_linear)  # type: ignore[no-untyped-call]

    def __len__(self) -> int:
        """Number of blocks K."""
        return len(self.weight_KDC)

    def labels(self, block: int) -> slice:
        """The labels of a block."""
        return slice(block * self.size, min((block + 1) * self.size, self.out_features))

    def logits(self, features: Features, block: int) -> Tensor:
        """B×C logits of a block's labels; fewer than C in the last block."""
        labels = self.labels(block)
        z_BC = features.times(self.weight_KDC[block])
        return z_BC[:, : labels.stop - labels.start] + self.bias_L[labels]

    def forward(self, x_BD: Tensor) -> Tensor:
        """B×L logits of all labels, where they are wanted at once."""
        z_BL = torch.cat([x_BD @ block_DC for block_DC in self.weight_KDC], dim=1)
        return z_BL[:, : self.out_features] + self.bias_L

    def weight(self) -> Tensor:
        """The weight as nn.Linear has it, L×D; a copy."""
        weight_LD = self.weight_KDC.new_empty(self.out_features, self.in_features)
        for block, block_DC in enumerate(self.weight_KDC.detach()):
            labels = self.labels(block)
            weight_LD[labels] = block_DC[:, : labels.stop - labels.start].T
        return weight_LD

    @torch.no_grad()
    def _fill(self, weight_LD: Tensor) -> None:
        for block, block_DC in enumerate(self.weight_KDC):
            labels = self.labels(block)
            block_DC[:, : labels.stop - labels.start] = weight_LD[labels].T


def _as_linear(layer: nn.Module, state: dict[str, Any], prefix: str, _: Mapping[str, Any]) -> None:
    assert isinstance(layer, LabelBlocks), "which has registered it"
    del state[f"{prefix}weight_KDC"]
    state[f"{prefix}weight"] = layer.weight()
    state[f"{prefix}bias"] = state.pop(f"{prefix}bias_L")


def _from_linear(layer: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    assert isinstance(layer, LabelBlocks), "which has registered it"
    weight_LD = state.pop(f"{prefix}weight", None)
    if weight_LD is not None and weight_LD.shape == (layer.out_features, layer.in_features):
        layer._fill(weight_LD)
        state[f"{prefix}weight_KDC"] = layer.weight_KDC.detach()
    if f"{prefix}bias" in state:
        state[f"{prefix}bias_L"] = state.pop(f"{prefix}bias")
