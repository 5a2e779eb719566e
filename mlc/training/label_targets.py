"""The targets of a batch, as blocks of labels ask for them."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mlc.batch import split_unknown
from mlc.rows import LabelRows, Targets


class BlockTargets(ABC):
    """B×L targets, cut into blocks of labels."""

    @property
    @abstractmethod
    def n_true(self) -> Tensor:
        """B numbers of labels that are known to be true, in the type of the logits."""

    @property
    @abstractmethod
    def all_known(self) -> bool:
        """Whether it is certain, without a look at the numbers, that no target is unknown."""

    @abstractmethod
    def whole(self) -> Tensor:
        """B booleans: whether all labels of the row are known."""

    @abstractmethod
    def dense(self, block: int) -> Tensor:
        """B×C targets 0 or 1 of a block, NaN where unknown."""

    @abstractmethod
    def true(self, block: int) -> tuple[Tensor, Tensor]:
        """Row and column, within the block, of everything that is true."""

    @abstractmethod
    def unknown(self, block: int) -> Tensor | None:
        """B×C booleans, or None where every label is known."""


def block_targets(
    targets: Targets, labels: Sequence[slice], dtype: torch.dtype, *, all_known: bool = False
) -> BlockTargets:
    """The targets of a batch cut at these labels; those of many labels are never made dense as a whole.

    Args:
        targets: B×L; LabelRows, or a tensor with NaN where unknown.
        labels: of each block, from 0 to L without a gap.
        dtype: of the logits.
        all_known: whether it is certain that a tensor has no NaN.
    """
    if isinstance(targets, LabelRows):
        return _SparseTargets.of(targets, labels, dtype)
    return _DenseTargets(targets.to(dtype), labels, all_known)


@dataclass(frozen=True)
class _DenseTargets(BlockTargets):
    """Targets that came as a tensor."""

    y_BL: Tensor
    labels: Sequence[slice]
    known: bool

    @property
    def n_true(self) -> Tensor:
        return split_unknown(self.y_BL)[0].sum(1)

    @property
    def all_known(self) -> bool:
        return self.known

    def whole(self) -> Tensor:
        return ~self.y_BL.isnan().any(1)

    def dense(self, block: int) -> Tensor:
        return self.y_BL[:, self.labels[block]]

    def true(self, block: int) -> tuple[Tensor, Tensor]:
        row_P, column_P = (self.dense(block) > 0).nonzero().unbind(1)
        return row_P, column_P

    def unknown(self, block: int) -> Tensor | None:
        return None if self.known else self.dense(block).isnan()


@dataclass(frozen=True)
class _SparseTargets(BlockTargets):
    """Row and label of each of the P true labels, by rising label, each pair once.

    Args:
        row_P, label_P: int64.
        first: for each block the first of its pairs, and P at the end.
        counts_B: number of labels of each row.
        labels: of each block.
    """

    row_P: Tensor
    label_P: Tensor
    first: Sequence[int]
    counts_B: Tensor
    labels: Sequence[slice]

    @classmethod
    def of(cls, targets: LabelRows, labels: Sequence[slice], dtype: torch.dtype) -> "_SparseTargets":
        rows = torch.arange(len(targets), device=targets.start_N.device)
        places_P, length_B = targets.places(rows)
        pair_P = targets.ids_M[places_P].long() * len(targets) + torch.repeat_interleave(rows, length_B)
        pair_P = torch.unique(pair_P)  # a file may name a label twice
        label_P, row_P = pair_P // len(targets), pair_P % len(targets)
        starts_K = torch.tensor([block.start for block in labels], device=label_P.device)
        first = [*torch.searchsorted(label_P, starts_K).tolist(), len(label_P)]
        counts_B = torch.bincount(row_P, minlength=len(targets)).to(dtype)
        return cls(row_P, label_P, first, counts_B, labels)

    @property
    def n_true(self) -> Tensor:
        return self.counts_B

    @property
    def all_known(self) -> bool:
        return True

    def whole(self) -> Tensor:
        return torch.ones_like(self.counts_B, dtype=torch.bool)

    def dense(self, block: int) -> Tensor:
        labels = self.labels[block]
        y_BC = self.counts_B.new_zeros(len(self.counts_B), labels.stop - labels.start)
        return y_BC.index_put_(self.true(block), y_BC.new_ones(()))

    def true(self, block: int) -> tuple[Tensor, Tensor]:
        pairs = slice(self.first[block], self.first[block + 1])
        return self.row_P[pairs], self.label_P[pairs] - self.labels[block].start

    def unknown(self, block: int) -> Tensor | None:
        return None
