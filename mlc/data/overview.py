"""What the targets of a split look like: how many, how uneven, which together."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mlc.data.positives import positives
from mlc.rows import Targets

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]
_CHUNK_ROWS = 1 << 15


@dataclass(frozen=True)
class LabelOverview:
    """Counts over the N rows of a split. A label with a level is there where the level is above 0.

    Args:
        rows: N.
        positives_L: rows in which each label is true.
        known_L: rows in which each label is known.
        labels_of_row_N: number of labels that each row is known to have.
        unknown: target entries that are unknown.
        unknown_rows: rows without any known label.
        empty_rows: rows whose labels are all known to be false.
        label_sets: number of different sets of true labels.
    """

    rows: int
    positives_L: Counts
    known_L: Counts
    labels_of_row_N: Counts
    unknown: int
    unknown_rows: int
    empty_rows: int
    label_sets: int

    @property
    def n_labels(self) -> int:
        """L."""
        return len(self.positives_L)

    @property
    def cardinality(self) -> float:
        """Mean number of labels of a row, each label over the rows in which it is known."""
        return float((self.positives_L / np.maximum(self.known_L, 1)).sum())

    @property
    def density(self) -> float:
        """The cardinality divided by the number of labels."""
        return self.cardinality / max(1, self.n_labels)

    @property
    def imbalance_L(self) -> Floats:  # noqa: N802 - the shape suffix
        """How many times rarer than the most frequent label each is (IRLbl); NaN for one without rows.

        Source: Charte, Rivera, del Jesus and Herrera (2015), Addressing Imbalance in Multilabel
            Classification: Measures and Random Resampling Algorithms.
        """
        rows_L = np.where(self.positives_L > 0, self.positives_L, np.nan)
        ratio_L: Floats = self.positives_L.max(initial=0) / rows_L
        return ratio_L

    @property
    def by_frequency(self) -> Counts:
        """The labels, most frequent first."""
        return np.argsort(-self.positives_L, kind="stable")


def overview(y_NL: Targets) -> LabelOverview:
    """Count what there is to know about the targets of a split."""
    n_rows, n_labels = y_NL.shape
    rows, labels = positives(y_NL)
    labels_of_row_N = np.bincount(rows, minlength=n_rows)
    unknown_N, known_L = np.zeros(n_rows, dtype=np.int64), np.full(n_labels, n_rows)
    if isinstance(y_NL, Tensor):
        unknown_NL = y_NL.isnan()
        unknown_N, known_L = unknown_NL.sum(1).numpy(), (~unknown_NL).sum(0).numpy()
    return LabelOverview(
        rows=n_rows,
        positives_L=np.bincount(labels, minlength=n_labels),
        known_L=known_L,
        labels_of_row_N=labels_of_row_N,
        unknown=int(unknown_N.sum()),
        unknown_rows=int(np.count_nonzero(unknown_N == n_labels)),
        empty_rows=int(np.count_nonzero((labels_of_row_N == 0) & (unknown_N == 0))),
        label_sets=_distinct_sets(labels, labels_of_row_N, n_labels),
    )


def together(y_NL: Targets, chosen: Counts) -> Counts:
    """In how many rows two labels are both true, for each two of the K chosen labels.

    Args:
        y_NL: targets.
        chosen: K labels.

    Returns:
        K×K counts; on the diagonal, the rows of each label.
    """
    n_rows, n_labels = y_NL.shape
    rows, labels = positives(y_NL)
    place_L = np.full(n_labels, -1)
    place_L[chosen] = np.arange(len(chosen))
    kept = place_L[labels] >= 0
    rows, places = rows[kept], place_L[labels[kept]]
    counts_KK = np.zeros((len(chosen), len(chosen)))
    for start in range(0, n_rows, _CHUNK_ROWS):
        own = slice(*np.searchsorted(rows, [start, start + _CHUNK_ROWS]))
        there_BK = np.zeros((_CHUNK_ROWS, len(chosen)), dtype=np.float32)
        there_BK[rows[own] - start, places[own]] = 1
        counts_KK += there_BK.T @ there_BK
    return counts_KK.astype(np.int64)


def _distinct_sets(labels: NDArray[np.int32], labels_of_row_N: Counts, n_labels: int) -> int:
    """Each label has a random number of 64 bits, and a set the sum of them: equal sums are equal sets."""
    code_L = np.random.default_rng(0).integers(2**64, size=n_labels, dtype=np.uint64)
    sums = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(code_L[labels], dtype=np.uint64)])
    ends = np.cumsum(labels_of_row_N)
    return len(np.unique(sums[ends] - sums[ends - labels_of_row_N]))
