"""Holding out rows so that every label keeps its share: iterative stratification."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_REST, _HELD = 0, 1
_NOT_YET = -1


def stratified_split(y_NL: Tensor, *, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Split rows in two so that each label has about the same share of positives in both parts.

    The rarest label is dealt out first, because a common one can still be balanced afterwards. Rows
    without labels are split at random in proportion. An unknown target counts as not positive, so a row whose
    labels are all unknown is dealt out like one without labels. Rows are counted, not weighed: weights, where
    the data set has them, do not change the split.

    Args:
        y_NL: targets: 0, 1 or a higher level; NaN where unknown.
        fraction: share of the rows to hold out, between 0 and 1.
        seed: the same seed gives the same split.

    Returns:
        The rows that stay and the rows that are held out: int64 indices, ascending, each row in one of them.

    Source: Sechidis, Tsoumakas and Vlahavas (2011), On the Stratification of Multi-Label Data, algorithm 1.
    Differs: rows without labels are dealt out last and by themselves, so that their share is kept too.
    """
    random = np.random.default_rng(seed)
    row_of, label_of = (indices.numpy() for indices in (y_NL > 0).nonzero(as_tuple=True))
    part_N = np.full(len(y_NL), _NOT_YET, dtype=np.int8)
    _deal_labelled(part_N, row_of, label_of, n_labels=y_NL.shape[1], fraction=fraction, random=random)

    unlabelled = random.permutation(np.flatnonzero(part_N == _NOT_YET))
    n_held = round(fraction * len(unlabelled))
    part_N[unlabelled[:n_held]] = _HELD
    part_N[unlabelled[n_held:]] = _REST
    return torch.from_numpy(np.flatnonzero(part_N == _REST)), torch.from_numpy(
        np.flatnonzero(part_N == _HELD)
    )


def _deal_labelled(
    part_N: NDArray[np.int8],
    row_of: NDArray[np.int64],
    label_of: NDArray[np.int64],
    *,
    n_labels: int,
    fraction: float,
    random: np.random.Generator,
) -> None:
    """Write into part_N the part of every row that has a label; (row_of, label_of) are the positives."""
    bounds_of_row = np.searchsorted(row_of, np.arange(len(part_N) + 1))
    by_label = np.argsort(label_of, kind="stable")
    bounds_of_label = np.searchsorted(label_of[by_label], np.arange(n_labels + 1))
    shares = np.array([1 - fraction, fraction], dtype=np.float64)
    remaining_L = np.bincount(label_of, minlength=n_labels)
    wanted_L = shares[:, None] * remaining_L
    wanted = shares * len(np.unique(row_of))
    label_order = random.permutation(n_labels)  # breaks ties between equally rare labels

    while remaining_L.any():
        in_order = remaining_L[label_order]
        label = label_order[np.where(in_order > 0, in_order, np.iinfo(np.int64).max).argmin()]
        rows = row_of[by_label[bounds_of_label[label] : bounds_of_label[label + 1]]]
        rows = random.permutation(rows[part_N[rows] == _NOT_YET])
        for row in rows:
            labels = label_of[bounds_of_row[row] : bounds_of_row[row + 1]]
            part = _neediest(wanted_L[:, label], wanted, random)
            part_N[row] = part
            wanted_L[part, labels] -= 1
            wanted[part] -= 1
            remaining_L[labels] -= 1


def _neediest(
    wanted_of_label: NDArray[np.float64], wanted: NDArray[np.float64], random: np.random.Generator
) -> int:
    """The part that still wants most rows of the label; at a tie most rows; at a tie any."""
    for gap in (wanted_of_label[_HELD] - wanted_of_label[_REST], wanted[_HELD] - wanted[_REST]):
        if gap != 0:
            return _HELD if gap > 0 else _REST
    return int(random.integers(2))
