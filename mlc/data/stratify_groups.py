"""Dealing whole groups of rows into parts, so that labels and rows keep their shares as well as they can."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlc.data.positives import positives
from mlc.rows import Targets

Groups = NDArray[np.int64]
Floats = NDArray[np.float64]


def stratified_groups(
    y_NL: Targets, group_N: NDArray[np.int64], *, shares: Sequence[float], seed: int
) -> NDArray[np.int32]:
    """Deal rows into parts, those of one group into the same, with labels in about the same shares.

    Groups are dealt from the largest to the smallest, each to the part where it takes the counts nearest to
    what the part should have: by the sum of (count - wanted)² / wanted over all labels, as in a test of fit,
    plus the same of the rows, which weighs as much as all labels together. No part stays
    empty while there is a group for it.

    Args:
        y_NL: targets: 0, 1 or a higher level, NaN where unknown; or LabelRows.
        group_N: rows with the same number stay together.
        shares: of each part in the rows; their sum is 1.
        seed: decides among groups and parts that are equal in all counts.

    Returns:
        The part of each row, from 0.
    """
    random = np.random.default_rng(seed)
    _, group_N, rows_G = np.unique(group_N, return_inverse=True, return_counts=True)
    counts = _LabelCounts.of(y_NL, group_N, n_groups=len(rows_G))
    share_P = np.asarray(shares, dtype=np.float64)
    wanted_LP, wanted_P = counts.total_L[:, None] * share_P, len(group_N) * share_P
    missing_LP, missing_P = wanted_LP.copy(), wanted_P.copy()
    row_weight = float(np.count_nonzero(counts.total_L)) or 1.0
    empty_P = np.ones(len(share_P), dtype=bool)
    part_G = np.empty(len(rows_G), dtype=np.int32)
    shuffled = random.permutation(len(rows_G))
    in_order = shuffled[np.argsort(-rows_G[shuffled], kind="stable")]
    for dealt, group in enumerate(in_order):
        labels, count = counts.of_group(group)
        rows = float(rows_G[group])
        growth_P = _growth(count[:, None], missing_LP[labels], wanted_LP[labels]).sum(axis=0)
        growth_P += row_weight * _growth(rows, missing_P, wanted_P)
        if len(in_order) - dealt <= np.count_nonzero(empty_P):
            growth_P[~empty_P] = np.inf
        part = int(growth_P.argmin())
        part_G[group] = part
        missing_LP[labels, part] -= count
        missing_P[part] -= rows
        empty_P[part] = False
    part_N: NDArray[np.int32] = part_G[group_N]
    return part_N


def _growth(count: Floats | float, missing: Floats, wanted: Floats) -> Floats:
    """By how much (count - wanted)² / wanted grows when `count` comes to a part that misses `missing`."""
    return count * (count - 2 * missing) / wanted


@dataclass(frozen=True)
class _LabelCounts:
    """In how many rows of each group each label is true, as far as it is in any.

    Args:
        labels, counts: group after group.
        bounds: where the groups begin and end there.
        total_L: rows of all groups in which each label is true.
    """

    labels: Groups
    counts: Floats
    bounds: Groups
    total_L: Floats

    @classmethod
    def of(cls, y_NL: Targets, group_N: Groups, *, n_groups: int) -> "_LabelCounts":
        """Count the labels of the groups 0 to n_groups - 1."""
        n_labels = y_NL.shape[1]
        rows, labels = positives(y_NL)
        pairs, rows_of_pair = np.unique(group_N[rows] * n_labels + labels, return_counts=True)
        counts = rows_of_pair.astype(np.float64)
        groups, labels = np.divmod(pairs, max(1, n_labels))
        bounds = np.searchsorted(groups, np.arange(n_groups + 1))
        total_L = np.bincount(labels, weights=counts, minlength=n_labels).astype(np.float64)
        return cls(labels, counts, bounds, total_L)

    def of_group(self, group: int) -> tuple[Groups, Floats]:
        """The labels of a group, and how many of its rows have each."""
        own = slice(self.bounds[group], self.bounds[group + 1])
        return self.labels[own], self.counts[own]
