"""All rows of svmlight files in flat arrays, read in two passes so that nothing is ever copied whole."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlc.data.svmlight_block import Block, Limits
from mlc.data.svmlight_file import MOST_LABELS, SvmlightFile
from mlc.errors import UserError
from mlc.rows import LabelRows, SparseRows

Values = Literal["as_they_are", "binary", "unit_length"]

_PIECE = 2**20  # labels at a time


@dataclass
class FlatFiles:
    """All rows of some files in flat arrays, each of which is allocated once."""

    ids_M: NDArray[np.int32]
    values_M: NDArray[np.float32] | None
    length_N: NDArray[np.int32]
    labels_K: NDArray[np.int32]
    n_labels_N: NDArray[np.int32]
    rows_of_file: list[int]
    lowest: int
    highest: int
    repeated: int
    skipped: int

    @classmethod
    def read(cls, files: Sequence[SvmlightFile], limits: Limits, values: Values) -> "FlatFiles":
        """Read files one after the other.

        The first pass counts separators, so that the arrays are as long as needed; what is more than that is
        never touched, and costs no memory.
        """
        sizes = [file.sizes() for file in files]
        flat = cls(
            ids_M=np.empty(sum(size.pairs for size in sizes), dtype=np.int32),
            values_M=None,
            length_N=np.empty(sum(size.rows for size in sizes), dtype=np.int32),
            labels_K=np.empty(sum(size.labels for size in sizes), dtype=np.int32),
            n_labels_N=np.empty(sum(size.rows for size in sizes), dtype=np.int32),
            rows_of_file=[],
            lowest=2**31,
            highest=-1,
            repeated=0,
            skipped=0,
        )
        if values != "binary":
            flat.values_M = np.empty(len(flat.ids_M), dtype=np.float32)
        rows, pairs, labels = 0, 0, 0
        for file in files:
            rows_before = rows
            for block in file.blocks(limits):
                flat._put(block, rows, pairs, labels, values)
                rows, pairs, labels = (
                    rows + len(block),
                    pairs + len(block.ids_M),
                    labels + len(block.labels_M),
                )
            if rows == rows_before:
                raise UserError(f"{file.path} has no rows; give a file in svmlight format.")
            flat.rows_of_file.append(rows - rows_before)
        if not pairs:
            raise UserError(f"{files[0].path}: no row has a feature; write them as index:value.")
        flat.ids_M, flat.labels_K = flat.ids_M[:pairs], flat.labels_K[:labels]
        flat.length_N, flat.n_labels_N = flat.length_N[:rows], flat.n_labels_N[:rows]
        if flat.values_M is not None:
            flat.values_M = flat.values_M[:pairs]
        return flat

    def _put(self, block: Block, rows: int, pairs: int, labels: int, values: Values) -> None:
        """Copy a block to these places."""
        self.ids_M[pairs : pairs + len(block.ids_M)] = block.ids_M
        self.labels_K[labels : labels + len(block.labels_M)] = block.labels_M
        self.length_N[rows : rows + len(block)] = block.length_R
        self.n_labels_N[rows : rows + len(block)] = block.n_labels_R
        if self.values_M is not None:
            self.values_M[pairs : pairs + len(block.ids_M)] = _changed_values(block, values)
        if len(block.ids_M):
            self.lowest = min(self.lowest, int(block.ids_M.min()))
            self.highest = max(self.highest, int(block.ids_M.max()))
        self.repeated += block.repeated
        self.skipped += block.skipped

    def features(self, first: int, width: int) -> SparseRows:
        """The features, with columns from 0."""
        if first:
            self.ids_M -= np.int32(first)
        values_M = None if self.values_M is None else torch.from_numpy(self.values_M)
        return SparseRows(*_cut(self.ids_M, self.length_N), values_M, width)

    def labels(self, n_labels: int | None) -> tuple[tuple[str, ...], LabelRows]:
        """Names of the labels, and the targets.

        Args:
            n_labels: the labels are 0 to n_labels - 1; None where they are the numbers that occur.

        Raises:
            UserError: there is no label, or there are more than anything here is made for.
        """
        if n_labels is not None:
            names: Sequence[int] = range(n_labels)
        else:
            pieces = [slice(start, start + _PIECE) for start in range(0, len(self.labels_K), _PIECE)]
            # Piece by piece, because sorting takes a copy of what is sorted.
            found = [np.unique(self.labels_K[piece]) for piece in pieces]
            distinct = np.unique(np.concatenate(found)) if found else self.labels_K
            for piece in pieces:
                self.labels_K[piece] = np.searchsorted(distinct, self.labels_K[piece])
            names = distinct.tolist()
        if not names:
            raise UserError("no row of the svmlight file has a label; labels stand first in a line.")
        if len(names) > MOST_LABELS:
            raise UserError(
                f"the svmlight file has {len(names)} different labels, and {MOST_LABELS} are the most that "
                "can be read; keep the more frequent ones."
            )
        return tuple(map(str, names)), LabelRows(*_cut(self.labels_K, self.n_labels_N), len(names))

    def notes(self) -> list[str]:
        """What was left out."""
        notes = []
        if self.skipped:
            notes.append(f"Lines skipped, as they hold nothing or only a comment: {self.skipped}.")
        if self.repeated:
            notes.append(f"Labels that stand twice in their row and count once: {self.repeated}.")
        return notes


def _cut(ids_M: NDArray[np.int32], length_N: NDArray[np.int32]) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, starts and lengths as tensors; starts take 32 bits where they can."""
    start_N = np.zeros(len(length_N), dtype=np.int32 if len(ids_M) < 2**31 else np.int64)
    np.cumsum(length_N[:-1], out=start_N[1:])
    return torch.from_numpy(ids_M), torch.from_numpy(start_N), torch.from_numpy(length_N)


def block_rows(block: Block, first: int, width: int, values: Values) -> SparseRows:
    """The features of a block, with columns from 0."""
    values_M = None if values == "binary" else torch.from_numpy(_changed_values(block, values))
    return SparseRows(*_cut(block.ids_M - np.int32(first), block.length_R), values_M, width)


def _changed_values(block: Block, values: Values) -> NDArray[np.float32]:
    if values != "unit_length":
        return block.values_M
    line_M = np.repeat(np.arange(len(block)), block.length_R)
    exact_M = block.values_M.astype(np.float64)
    length_R = np.sqrt(np.bincount(line_M, weights=exact_M**2, minlength=len(block)))
    length_R[length_R == 0] = 1  # a row of zeros stays one
    return (exact_M / length_R[line_M]).astype(np.float32)
