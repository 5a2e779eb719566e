"""Dealing rows into parts so that every label keeps its share in each: iterative stratification."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlc.data.positives import positives
from mlc.rows import Targets

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]
_NOT_YET = -1


def stratified_parts(y_NL: Targets, *, shares: Sequence[float], seed: int) -> NDArray[np.int32]:
    """Deal rows into parts so that each label has about the same share of positives in every part.

    The rarest label is dealt out first, because a common one can still be balanced afterwards: again and
    again the label with the fewest rows left; each of its rows goes to the part that still wants most rows of
    this label, at a tie to the one that wants most rows at all. Rows without labels are dealt out last and by
    themselves, so that their share is kept too. An unknown target counts as not positive, so a
    row whose labels are all unknown is dealt out like one without labels. Rows are counted, not weighed:
    weights, where the data set has them, do not change the split.

    All rows of a label are dealt at once, which gives what dealing them one by one would give: until the
    label is done, each row lowers the two wants of its part by exactly 1, so the order in which the parts
    get their turns is a sort. 10^5 rows of 10^3 labels take a third of a second, see
    benchmarks/stratification.py.

    Args:
        y_NL: targets: 0, 1 or a higher level, NaN where unknown; or LabelRows.
        shares: of each part in the rows; their sum is 1.
        seed: the same seed gives the same parts.

    Returns:
        The part of each row, from 0.

    Source: Sechidis, Tsoumakas and Vlahavas (2011), On the Stratification of Multi-Label Data, algorithm 1.
    Differs: rows without labels keep their share, too.
    """
    random = np.random.default_rng(seed)
    share_P = np.asarray(shares, dtype=np.float64)
    true = _Positives.of(y_NL)
    part_N = np.full(len(y_NL), _NOT_YET, dtype=np.int32)
    _deal_labelled(part_N, true, share_P, random)
    unlabelled = random.permutation(np.flatnonzero(part_N == _NOT_YET))
    cuts = np.rint(np.cumsum(share_P[:0:-1]) * len(unlabelled)).astype(np.int64)
    for part, rows in enumerate(reversed(np.split(unlabelled, cuts))):
        part_N[rows] = part
    return part_N


def stratified_split(y_NL: Targets, *, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Hold out a share of the rows; see `stratified_parts`.

    Args:
        y_NL: targets: 0, 1 or a higher level, NaN where unknown; or LabelRows.
        fraction: share of the rows to hold out, between 0 and 1.
        seed: the same seed gives the same split.

    Returns:
        The rows that stay and the rows that are held out: int64 indices, ascending, each row in one of them.
    """
    part_N = stratified_parts(y_NL, shares=[1 - fraction, fraction], seed=seed)
    return torch.from_numpy(np.flatnonzero(part_N == 0)), torch.from_numpy(np.flatnonzero(part_N == 1))


@dataclass(frozen=True)
class _Positives:
    """The true labels of all rows: those of row n are `labels[bounds_of_row[n] : bounds_of_row[n + 1]]`.

    Args:
        labels: row after row.
        bounds_of_row: N + 1 places.
        rows: the rows of label 0, of label 1, ..., each ascending.
        bounds_of_label: L + 1 places.
    """

    labels: NDArray[np.int32]
    bounds_of_row: Indices
    rows: NDArray[np.int32]
    bounds_of_label: Indices

    @classmethod
    def of(cls, y_NL: Targets) -> "_Positives":
        """Read them from targets of either kind."""
        n_rows, n_labels = y_NL.shape
        row_of, labels = positives(y_NL)
        by_label = np.argsort(labels, kind="stable")
        return cls(
            labels,
            bounds_of_row=_bounds(np.bincount(row_of, minlength=n_rows)),
            rows=row_of[by_label],
            bounds_of_label=_bounds(np.bincount(labels, minlength=n_labels)),
        )

    def rows_of(self, label: int) -> NDArray[np.int32]:
        """The rows that have a label."""
        return self.rows[self.bounds_of_label[label] : self.bounds_of_label[label + 1]]

    def labels_of(self, rows: NDArray[np.int32]) -> tuple[NDArray[np.int32], Indices]:
        """The labels of these rows, row after row, and how many each row has."""
        starts = self.bounds_of_row[rows]
        lengths = self.bounds_of_row[rows + 1] - starts
        first = np.cumsum(lengths) - lengths
        return self.labels[np.repeat(starts - first, lengths) + np.arange(lengths.sum())], lengths


def _bounds(lengths: Indices) -> Indices:
    return np.concatenate([[0], np.cumsum(lengths)])


def _deal_labelled(
    part_N: NDArray[np.int32], true: _Positives, share_P: Floats, random: np.random.Generator
) -> None:
    """Write into part_N the part of every row that has a label."""
    remaining_L = np.diff(true.bounds_of_label)
    n_parts = len(share_P)
    wanted_LP = remaining_L[:, None] * share_P
    wanted_P = share_P * np.count_nonzero(np.diff(true.bounds_of_row))
    label_order = random.permutation(len(remaining_L))  # breaks ties between equally rare labels
    place_of = np.argsort(label_order)
    done = np.iinfo(np.int32).max
    # How many rows are left of the labels in that order; one pass over it finds the next label.
    waiting = np.where(remaining_L > 0, remaining_L, done)[label_order].astype(np.int32)

    while len(waiting) and waiting[place := waiting.argmin()] != done:
        label = label_order[place]
        rows = true.rows_of(label)
        rows = random.permutation(rows[part_N[rows] == _NOT_YET])
        parts = _turns(len(rows), wanted_LP[label], wanted_P, random)
        part_N[rows] = parts
        wanted_P -= np.bincount(parts, minlength=n_parts)
        labels, lengths = true.labels_of(rows)
        np.subtract.at(wanted_LP.reshape(-1), labels * n_parts + np.repeat(parts, lengths), 1)
        places = place_of[labels]
        np.subtract.at(waiting, places, 1)
        waiting[places[waiting[places] == 0]] = done


def _turns(n: int, wanted_of_label_P: Floats, wanted_P: Floats, random: np.random.Generator) -> Indices:
    """Which part gets each of n rows: always the one that wants most of the label, at a tie most rows.

    Parts that want the same of both take turns in their order, from one of them drawn at random.
    """
    # The wants of the label add up to n: no part gets more than its own, rounded up.
    turns_P = np.clip(np.floor(wanted_of_label_P) + 1, 0, n).astype(np.int64)
    part = np.repeat(np.arange(len(turns_P)), turns_P)
    turn = np.arange(len(part)) - np.repeat(np.cumsum(turns_P) - turns_P, turns_P)
    first, second = wanted_of_label_P[part] - turn, wanted_P[part] - turn
    order = np.lexsort((part, -second, -first))
    tied = (np.diff(first[order]) == 0) & (np.diff(second[order]) == 0)
    if tied[:n].any():
        starts = np.flatnonzero(np.concatenate([[True], ~tied]))
        sizes = np.diff(np.append(starts, len(order)))
        runs = np.flatnonzero((sizes > 1) & (starts < n))
        starts, sizes = starts[runs], sizes[runs]
        offset = random.integers(sizes)
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        start, size = np.repeat(starts, sizes), np.repeat(sizes, sizes)
        order[start + within] = order[start + (within + np.repeat(offset, sizes)) % size]
    return part[order[:n]]
