"""What flows from the data to the loss, and what is known about the labels before training.

Shape suffixes, used everywhere: B examples of a batch, N examples of a split, L labels, D features,
K counts or levels.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """A few examples on the training device.

    Args:
        inputs: named input tensors, each with B rows; the main one is called "x".
        y_BL: float32 targets, 0 or 1.
    """

    inputs: Mapping[str, Tensor]
    y_BL: Tensor


@dataclass(frozen=True)
class LabelStatistics:
    """Facts about the training labels that heads and losses may use.

    Args:
        positives_L: float64, number of training rows in which each label is true.
        rows: number of training rows.
        single_label: True when every training row has exactly one label.
        count_histogram_K: float64, number of training rows that have 0, 1, ..., K labels, where K is the
            largest number of labels that a training row has.
    """

    positives_L: Tensor
    rows: int
    single_label: bool
    count_histogram_K: Tensor

    @property
    def n_labels(self) -> int:
        """Number of labels L."""
        return len(self.positives_L)

    @property
    def mean_count(self) -> float:
        """Mean number of labels per training row (the cardinality of the data set)."""
        return float(self.positives_L.sum()) / self.rows

    @property
    def max_count(self) -> int:
        """Largest number of labels that a training row has, K."""
        return len(self.count_histogram_K) - 1

    @classmethod
    def from_targets(cls, y_NL: Tensor) -> "LabelStatistics":
        """Count the labels of the training targets y_NL (N×L, 0 or 1)."""
        n_N = y_NL.sum(1)
        return cls(
            positives_L=y_NL.double().sum(0),
            rows=len(y_NL),
            single_label=bool((n_N == 1).all()),
            count_histogram_K=torch.bincount(n_N.long()).double(),
        )
