"""What flows from the data to the loss, and what is known about the labels before training.

Shape suffixes, used everywhere: B examples of a batch, N examples of a split, L labels, D features,
K counts or levels, M label sets.

A target is 0 or 1, or NaN where it is unknown. Unknown targets count as if the label did not exist for that
example; where the model knows the distribution of whole label sets, they are summed out.
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
        y_BL: float32 targets, 0 or 1 (or levels 0, 1, 2, ...), NaN where unknown.
        weight_B: float32 weights of the examples, of mean 1 over the split, or None where all are equal.
    """

    inputs: Mapping[str, Tensor]
    y_BL: Tensor
    weight_B: Tensor | None = None


def split_unknown(y: Tensor) -> tuple[Tensor, Tensor]:
    """The targets with 0 where they are unknown, and booleans that say where they are known."""
    return y.nan_to_num(nan=0.0), ~y.isnan()


def presence(y: Tensor) -> Tensor:
    """Targets 0 or 1 from levels: 1 where the level is above 0; unknown (NaN) stays unknown."""
    return torch.where(y > 0, 1.0, y)


@dataclass(frozen=True)
class LabelStatistics:
    """Facts about the training labels that heads and losses may use; rows count by their weights.

    Args:
        positives_L: float64, training rows in which each label is true.
        known_L: float64, training rows in which each label is known.
        rows: number of training rows.
        single_label: True when in every training row all labels are known and exactly one is true.
        count_histogram_K: float64, training rows that have 0, 1, ..., K labels, where K is the largest number
            of labels that a training row is known to have; rows with unknown labels are left out.
        levels: number of levels of each label; 2 where a label is there or not.
        sets_ML: booleans, the M different label sets of the training rows without unknown labels, the most
            frequent first; None where the head does not ask for them.
    """

    positives_L: Tensor
    known_L: Tensor
    rows: int
    single_label: bool
    count_histogram_K: Tensor
    levels: int = 2
    sets_ML: Tensor | None = None

    @property
    def n_labels(self) -> int:
        """Number of labels L."""
        return len(self.positives_L)

    @property
    def frequency_L(self) -> Tensor:  # noqa: N802 - the shape suffix
        """Share of the rows in which each label is true, among those in which it is known (0 if none)."""
        return self.positives_L / self.known_L.clamp(min=torch.finfo(torch.float64).tiny)

    @property
    def mean_count(self) -> float:
        """Mean number of labels per training row (the cardinality of the data set)."""
        return float(self.frequency_L.sum())

    @property
    def max_count(self) -> int:
        """Largest number of labels that a training row has, K."""
        return len(self.count_histogram_K) - 1

    @classmethod
    def from_targets(
        cls, y_NL: Tensor, weight_N: Tensor | None = None, *, with_sets: bool = False
    ) -> "LabelStatistics":
        """Count the labels of the training targets.

        Args:
            y_NL: N×L targets: 0, 1 or a higher level; NaN where unknown.
            weight_N: weights of the rows; None where all are 1.
            with_sets: collect the different label sets, which costs a sort of all rows.
        """
        if weight_N is not None:  # a row of weight 0 is no row
            y_NL, weight_N = y_NL[weight_N > 0], weight_N[weight_N > 0]
        level_NL, known_NL = split_unknown(y_NL)
        true_NL = level_NL > 0
        w_N = torch.ones(len(y_NL)) if weight_N is None else weight_N
        w_N = w_N.double().to(y_NL.device)
        whole_N = known_NL.all(1)
        n_N = true_NL[whole_N].sum(1)
        most = int(true_NL.sum(1).max()) if len(y_NL) else 0
        return cls(
            positives_L=w_N @ true_NL.double(),
            known_L=w_N @ known_NL.double(),
            rows=len(y_NL),
            single_label=bool(whole_N.all() and (n_N == 1).all()),
            count_histogram_K=torch.bincount(n_N, weights=w_N[whole_N], minlength=most + 1),
            levels=max(2, int(level_NL.max()) + 1) if level_NL.numel() else 2,
            sets_ML=_distinct_sets(true_NL[whole_N], w_N[whole_N]) if with_sets else None,
        )


def _distinct_sets(true_NL: Tensor, weight_N: Tensor) -> Tensor:
    sets_ML, set_N = torch.unique(true_NL, dim=0, return_inverse=True)
    weight_M = torch.bincount(set_N, weights=weight_N, minlength=len(sets_ML))
    by_weight_ML: Tensor = sets_ML[weight_M.argsort(descending=True, stable=True)]
    return by_weight_ML
