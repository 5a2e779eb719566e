"""A linear layer over very many labels, whose weights lie in blocks of labels."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mlc.training.label_features import Features
from mlc.training.label_shards import LabelShards
from mlc.training.memory_light import BlockedWeight

_BLOCK_NUMBERS = (
    2**20
)  # of a block; so many float32 weights, their gradient and two moments fit a large cache
_FEWEST_LABELS = 64  # of a block: below, calls cost more than the cache saves
_ALIGNED = 16  # float32 numbers of a cache line


def block_size(in_features: int, n_labels: int, *, processes: int = 1) -> int:
    """How many labels a block has where nobody says: few enough that its numbers stay in the cache.

    A fixed rule, so that a resumed run finds the same blocks.

    Args:
        in_features: D.
        n_labels: L.
        processes: among which the blocks are dealt out: with as many labels each gets one.
    """
    wanted = max(_FEWEST_LABELS, _BLOCK_NUMBERS // in_features)
    even = math.ceil(n_labels / max(processes, math.ceil(n_labels / wanted)))
    size = min(n_labels, math.ceil(even / _ALIGNED) * _ALIGNED)
    if math.ceil(n_labels / size) < processes:  # few labels: one more matters more than a cache line
        return max(1, n_labels // processes)
    return size


class LabelBlocks(nn.Module):
    """What nn.Linear computes, cut into K blocks of C labels, each one contiguous D×C matrix.

    A block is read, its gradient taken and its weights changed while all of it is in the cache. It is D×C,
    because sparse rows then multiply it by adding up rows of C numbers. The last block is filled up with
    columns that no label has: they start at 0, and their gradient is 0.

    The state has the weight as nn.Linear has it, L×D, so that each of the two layers reads what the other
    wrote. Of several processes each may hold a shard, K and L of it being those of its own blocks: then all
    of them ask for the same block, for all logits or for the state at the same time, and it is the main
    process that gets the state.

    Args:
        linear: whose numbers it takes over; it has a bias.
        size: C, labels of a block.
        sharded: whether this process holds its own share of the blocks only.
    """

    def __init__(self, linear: nn.Linear, *, size: int, sharded: bool = False):
        super().__init__()
        self.in_features = linear.in_features
        self.out_features = linear.out_features
        self.size = size
        self.sharded = sharded
        blocks = math.ceil(linear.out_features / size)
        self.shards = LabelShards.here(blocks) if sharded else LabelShards(blocks, rank=0, world=1)
        weight_LD = linear.weight.detach()
        own = len(self.shards.own)
        self.weight_KDC = BlockedWeight(weight_LD.new_zeros(own, linear.in_features, size))
        self.bias_L = nn.Parameter(linear.bias.detach()[self.own_labels].clone())
        self._fill(weight_LD)
        self.register_state_dict_post_hook(_as_linear)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_from_linear)  # type: ignore[no-untyped-call]

    def __len__(self) -> int:
        """Number of blocks, of all processes together."""
        return self.shards.blocks

    @property
    def own(self) -> range:
        """The blocks that this process holds; all of them unless it holds a shard."""
        return self.shards.own

    @property
    def own_labels(self) -> slice:
        """The labels of these blocks."""
        return slice(self.labels(self.own[0]).start, self.labels(self.own[-1]).stop)

    def labels(self, block: int) -> slice:
        """The labels of a block."""
        return slice(block * self.size, min((block + 1) * self.size, self.out_features))

    def own_block(self, block: int) -> Tensor:
        """D×C weights of a block of this process, a view."""
        return self.weight_KDC[block - self.own.start]

    def own_place(self, block: int) -> slice:
        """Where the labels of a block of this process stand in `bias_L`."""
        labels, first = self.labels(block), self.own_labels.start
        return slice(labels.start - first, labels.stop - first)

    def own_logits(self, features: Features, block: int) -> Tensor:
        """B×C logits of a block of this process; fewer than C in the last block."""
        return self._logits(features, block, self.own_block(block), self.bias_L[self.own_place(block)])

    def logits(self, features: Features, block: int) -> Tensor:
        """The same of any block."""
        if not self.sharded:
            return self.own_logits(features, block)
        return self._logits(features, block, *self._fetch(block))

    def _logits(self, features: Features, block: int, weight_DC: Tensor, bias_C: Tensor) -> Tensor:
        labels = self.labels(block)
        return features.times(weight_DC)[:, : labels.stop - labels.start] + bias_C

    def forward(self, x_BD: Tensor) -> Tensor:
        """B×L logits of all labels, where they are wanted at once."""
        if not self.sharded:
            z_BL = torch.cat([x_BD @ block_DC for block_DC in self.weight_KDC], dim=1)
            return z_BL[:, : self.out_features] + self.bias_L
        fetched = map(self._fetch, range(len(self)))
        parts = [(x_BD @ weight_DC)[:, : len(bias_C)] + bias_C for weight_DC, bias_C in fetched]
        return torch.cat(parts, dim=1)

    @torch.no_grad()
    def _fetch(self, block: int) -> tuple[Tensor, Tensor]:
        """Weights and biases of any block, in every process."""
        labels, mine = self.labels(block), block in self.own
        weight_KDC, bias_L, shape = self.weight_KDC.detach(), self.bias_L.detach(), self.weight_KDC.shape[1:]
        return (
            self.shards.fetch(self.own_block(block) if mine else weight_KDC, block, shape=shape),
            self.shards.fetch(
                bias_L[self.own_place(block)] if mine else bias_L, block, shape=(labels.stop - labels.start,)
            ),
        )

    @torch.no_grad()
    def as_linear(self) -> tuple[Tensor, Tensor]:
        """Weight and bias as nn.Linear has them, L×D and L; copies.

        Of shards they are put together in the main process, one block after another; others get none.
        """
        main = self.shards.rank == 0
        device = torch.device("cpu") if self.sharded else self.bias_L.device  # a device may not hold them all
        labels_here = self.out_features if main else 0
        weight_LD = self.weight_KDC.new_empty(labels_here, self.in_features, device=device)
        bias_L = self.bias_L.new_empty(labels_here, device=device)
        for block in range(len(self)):
            labels, (weight_DC, bias_C) = self.labels(block), self._fetch(block)
            if main:
                weight_LD[labels], bias_L[labels] = weight_DC[:, : len(bias_C)].T, bias_C
        return weight_LD, bias_L

    @torch.no_grad()
    def _fill(self, weight_LD: Tensor) -> None:
        for block in self.own:
            labels = self.labels(block)
            self.own_block(block)[:, : labels.stop - labels.start] = weight_LD[labels].T


def n_parameters(network: nn.Module) -> int:
    """How many parameters a network has: of labels in blocks those of each label, wherever it is."""
    total = sum(parameter.numel() for parameter in network.parameters())
    for layer in network.modules():
        if isinstance(layer, LabelBlocks):
            total += layer.out_features * (layer.in_features + 1)
            total -= layer.weight_KDC.numel() + layer.bias_L.numel()
    return total


def _as_linear(layer: nn.Module, state: dict[str, Any], prefix: str, _: Mapping[str, Any]) -> None:
    assert isinstance(layer, LabelBlocks), "which has registered it"
    del state[f"{prefix}weight_KDC"], state[f"{prefix}bias_L"]
    state[f"{prefix}weight"], state[f"{prefix}bias"] = layer.as_linear()


def _from_linear(layer: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    assert isinstance(layer, LabelBlocks), "which has registered it"
    weight_LD = state.pop(f"{prefix}weight", None)
    if weight_LD is not None and weight_LD.shape == (layer.out_features, layer.in_features):
        layer._fill(weight_LD)
        state[f"{prefix}weight_KDC"] = layer.weight_KDC.detach()
    if f"{prefix}bias" in state:
        bias_L = state.pop(f"{prefix}bias")
        whole = layer.sharded and bias_L.shape == (layer.out_features,)
        state[f"{prefix}bias_L"] = bias_L[layer.own_labels] if whole else bias_L
