"""Rows that are not one dense tensor: sparse numbers, texts as token ids, label sets.

All are pieces of flat tensors: row n is `flat[start_N[n] : start_N[n] + length_N[n]]`. So a split is a choice
of pieces and copies nothing, and a batch is gathered without a Python loop over its rows.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils import _pytree

from mlc.inputs import InputSpec

_ROWS_AT_A_TIME = 2**16
_FEW = 0.1  # share of numbers that are there, above which sums of rows take longer than a dense product
_CHUNK_NUMBERS = 2**20  # what is computed from a chunk of so many targets fits a few tens of megabytes


@runtime_checkable
class Rows(Protocol):
    """N examples of one input that is no dense tensor."""

    def __len__(self) -> int:
        """Number of rows N."""
        ...

    def __getitem__(self, rows: Tensor) -> "Tensor | SparseRows":
        """What a batch holds for the rows at these int64 indices, on the same device."""
        ...

    def view(self, rows: Tensor) -> Self:
        """The same data restricted to these rows; nothing is copied but indices."""
        ...

    def to(self, device: str) -> Self:
        """The same rows on another device."""
        ...

    @property
    def spec(self) -> InputSpec:
        """What a backbone must know about this input."""
        ...


@dataclass(frozen=True)
class RaggedRows(ABC):
    """N rows of different lengths, cut out of flat tensors with M entries.

    Args:
        ids_M: integers; what they mean is said by the subclass.
        start_N: int64 or int32, where each row starts.
        length_N: int64 or int32, how many entries it has.
    """

    ids_M: Tensor
    start_N: Tensor
    length_N: Tensor

    def __len__(self) -> int:
        return len(self.start_N)

    @abstractmethod
    def __getitem__(self, rows: Tensor) -> "Tensor | SparseRows":
        """What a batch holds for the rows at these int64 indices."""

    def view(self, rows: Tensor) -> Self:
        """The same flat tensors restricted to these rows."""
        return replace(self, start_N=self.start_N[rows], length_N=self.length_N[rows])

    def to(self, device: str) -> Self:
        """The same rows on another device; only their own entries go there."""
        if self.ids_M.device == torch.device(device):
            return self
        rows = self.own() if int(self.length_N.sum()) < len(self.ids_M) else self
        moved = {name: value.to(device) for name, value in vars(rows).items() if isinstance(value, Tensor)}
        return replace(rows, **moved)

    def own(self) -> Self:
        """The same rows with flat tensors of their own, without the entries of rows that are not theirs."""
        ends_N = self.length_N.cumsum(0)
        own = {
            name: value.new_empty(int(self.length_N.sum()))
            for name, value in vars(self).items()
            if isinstance(value, Tensor) and name.endswith("_M")
        }
        done = 0
        for rows in torch.arange(len(self), device=self.start_N.device).split(_ROWS_AT_A_TIME):
            places, _ = self.places(rows)
            for name, flat in own.items():
                flat[done : done + len(places)] = getattr(self, name)[places]
            done += len(places)
        return replace(self, start_N=ends_N - self.length_N, **own)

    def places(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Where the entries of these rows stand in the flat tensors, row after row, and each row's length."""
        length_B = self.length_N[rows]
        first_B = length_B.cumsum(0) - length_B
        offset = torch.repeat_interleave(self.start_N[rows] - first_B, length_B)
        return offset + torch.arange(len(offset), device=offset.device), length_B


@dataclass(frozen=True)
class SparseRows(RaggedRows):
    """Rows of D numbers, most of them 0: ids are columns. A batch of them is the same type, gathered.

    Args:
        values_M: float32, the numbers; None where all are 1.
        width: number of columns D.
    """

    values_M: Tensor | None
    width: int

    def __getitem__(self, rows: Tensor) -> "SparseRows":
        places, length_B = self.places(rows)
        values = None if self.values_M is None else self.values_M[places]
        return SparseRows(self.ids_M[places], length_B.cumsum(0) - length_B, length_B, values, self.width)

    def map_tensors(self, change: Callable[[Tensor], Tensor]) -> "SparseRows":
        """The same rows with every tensor changed, for example moved to another device."""
        values = None if self.values_M is None else change(self.values_M)
        return SparseRows(change(self.ids_M), change(self.start_N), change(self.length_N), values, self.width)

    @property
    def spec(self) -> InputSpec:
        """D sparse numbers."""
        return InputSpec("sparse", (self.width,))

    def numbers(self) -> Tensor:
        """The values of all entries, float32."""
        if self.values_M is None:
            return torch.ones(len(self.ids_M), device=self.ids_M.device)
        return self.values_M

    def __matmul__(self, weight_DW: Tensor) -> Tensor:
        """B×W, for a batch: sums of weighted rows of a matrix, an embedding bag; no B×D numbers are made.

        Rows of which more than a tenth is there are made dense, because the product is then the faster way
        (docs/performance.md). Both are computed in the type of the matrix, under autocast, too.
        """
        values_M = self.numbers().to(weight_DW.dtype)
        if len(self.ids_M) > _FEW * len(self) * self.width:
            with torch.autocast(weight_DW.device.type, enabled=False):
                return replace(self, values_M=values_M).dense() @ weight_DW
        return F.embedding_bag(
            self.ids_M.long(),
            weight_DW,
            offsets=self.start_N.long(),
            mode="sum",
            per_sample_weights=values_M,
        )

    def dense(self) -> Tensor:
        """N×D, in the type of the values; an entry that stands twice in its row is added."""
        rows = self[torch.arange(len(self), device=self.start_N.device)]
        row_of = torch.repeat_interleave(torch.arange(len(rows), device=rows.length_N.device), rows.length_N)
        values_M = rows.numbers()
        x_ND = values_M.new_zeros(len(rows), self.width)
        return x_ND.index_put_((row_of, rows.ids_M.long()), values_M, accumulate=True)


def _from_leaves(leaves: Iterable[Any], width: int) -> SparseRows:
    ids_M, start_N, length_N, values_M = leaves
    return SparseRows(ids_M, start_N, length_N, values_M, width)


_pytree.register_pytree_node(
    SparseRows,
    lambda rows: ([rows.ids_M, rows.start_N, rows.length_N, rows.values_M], rows.width),
    _from_leaves,
    serialized_type_name="mlc.rows.SparseRows",
)


class RowPerInput(nn.Parameter):
    """A weight D×W that sparse rows multiply: the transpose of nn.Linear's, with a column per output."""


@dataclass(frozen=True)
class TokenRows(RaggedRows):
    """Texts as token ids. A batch is B×T int64, padded at the end to its longest row.

    Args:
        input: what a backbone must know: vocabulary, padding id, longest text.
    """

    input: InputSpec

    def __getitem__(self, rows: Tensor) -> Tensor:
        length_B = self.length_N[rows]
        place_T = torch.arange(int(length_B.max()), device=length_B.device)
        places_BT = (self.start_N[rows].unsqueeze(1) + place_T).clamp(max=len(self.ids_M) - 1)
        return torch.where(place_T < length_B.unsqueeze(1), self.ids_M[places_BT].long(), self.input.padding)

    @property
    def spec(self) -> InputSpec:
        """Tokens of a vocabulary."""
        return self.input


@dataclass(frozen=True)
class LabelRows(RaggedRows):
    """Targets with few labels of very many, all of them known: ids are the true labels.

    Args:
        n_labels: L.
    """

    n_labels: int

    def __getitem__(self, rows: Tensor | slice) -> Tensor:
        """B×L float32 targets, 0 or 1."""
        if isinstance(rows, slice):
            rows = torch.arange(*rows.indices(len(self)), device=self.start_N.device)
        places, length_B = self.places(rows)
        row_of = torch.repeat_interleave(torch.arange(len(length_B), device=length_B.device), length_B)
        y_BL = torch.zeros(len(length_B), self.n_labels, device=self.ids_M.device)
        return y_BL.index_put_((row_of, self.ids_M[places].long()), y_BL.new_ones(()))

    def piece(self, rows: Tensor) -> "LabelRows":
        """The labels of these rows, with a flat tensor of their own; no dense target is made."""
        places, length_B = self.places(rows)
        return LabelRows(self.ids_M[places], length_B.cumsum(0) - length_B, length_B, self.n_labels)

    def map_tensors(self, change: Callable[[Tensor], Tensor]) -> "LabelRows":
        """The same rows with every tensor changed, for example moved to another device."""
        return LabelRows(change(self.ids_M), change(self.start_N), change(self.length_N), self.n_labels)

    @property
    def shape(self) -> tuple[int, int]:
        """(N, L), as the dense targets would have it."""
        return len(self), self.n_labels


def distinct_pairs(rows: LabelRows) -> tuple[Tensor, Tensor]:
    """The row and the label of every label that is there, each pair once, row by row; two int64 tensors."""
    places, length_N = rows.places(torch.arange(len(rows), device=rows.start_N.device))
    row_of = torch.repeat_interleave(torch.arange(len(rows), device=length_N.device), length_N)
    pairs = torch.unique(row_of * rows.n_labels + rows.ids_M[places].long())
    return pairs // rows.n_labels, pairs % rows.n_labels


Targets = Tensor | LabelRows


def take_targets(targets: Targets, rows: Tensor) -> Targets:
    """The targets of these rows (int64 indices): a view of LabelRows, a copy of a tensor."""
    return targets.view(rows) if isinstance(targets, LabelRows) else targets[rows]


def dense_chunks(targets: Targets) -> Iterator[tuple[int, Tensor]]:
    """The targets as dense tensors of some rows each, and where each starts; one empty chunk if N is 0."""
    n_rows, n_labels = targets.shape
    step = max(1, _CHUNK_NUMBERS // max(1, n_labels))
    for start in range(0, max(1, n_rows), step):
        yield start, targets[start : start + step]
