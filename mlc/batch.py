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
from torch.nn.functional import pad

from mlc.rows import LabelRows, SparseRows, Targets, dense_chunks, distinct_pairs

BatchInput = Tensor | SparseRows
_ROWS_AT_A_TIME = 2**16


@dataclass(frozen=True)
class Batch:
    """A few examples on the training device.

    Args:
        inputs: named inputs, each with B rows; the main one is called "x".
        y_BL: float32 targets, 0 or 1 (or levels 0, 1, 2, ...), NaN where unknown.
        weight_B: float32 weights of the examples, of mean 1 over the split, or None where all are equal.
        auxiliary_BA: targets of an auxiliary head that has its own, or None.
        all_known: whether no target is NaN, for certain; losses are cheaper then.
        label_rows: the targets where the labels are too many for a tensor; y_BL then has no columns.
    """

    inputs: Mapping[str, BatchInput]
    y_BL: Tensor
    weight_B: Tensor | None = None
    auxiliary_BA: Tensor | None = None
    all_known: bool = False
    label_rows: LabelRows | None = None


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
        cls, y_NL: Targets, weight_N: Tensor | None = None, *, with_sets: bool = False
    ) -> "LabelStatistics":
        """Count the labels of the training targets, a chunk of rows at a time.

        Args:
            y_NL: N×L targets: 0, 1 or a higher level; NaN where unknown.
            weight_N: weights of the rows; None where all are 1.
            with_sets: collect the different label sets, which costs a sort of all rows.
        """
        if isinstance(y_NL, LabelRows) and not with_sets:  # very many labels: N × L is never looked at
            return cls._of_rows(y_NL, weight_N)
        counts = None
        for start, y_BL in dense_chunks(y_NL):
            weight_B = None if weight_N is None else weight_N[start : start + len(y_BL)]
            chunk = _Counts.of(y_BL, weight_B, with_sets=with_sets)
            counts = chunk if counts is None else counts.plus(chunk)
        assert counts is not None, "there is a chunk, if an empty one"
        return cls(
            positives_L=counts.positives_L,
            known_L=counts.known_L,
            rows=counts.rows,
            single_label=counts.single_label,
            count_histogram_K=counts.count_histogram_K,
            levels=max(2, counts.highest + 1),
            sets_ML=counts.sets.by_weight() if counts.sets else None,
        )

    @classmethod
    def _of_rows(cls, y_NL: LabelRows, weight_N: Tensor | None) -> "LabelStatistics":
        """The same from the labels of each row, all of them known; a label that stands twice counts once."""
        w_N = torch.ones(len(y_NL), dtype=torch.float64) if weight_N is None else weight_N.double()
        kept_N = w_N > 0  # a row of weight 0 is no row
        rows = y_NL.view(kept_N.nonzero().squeeze(1))
        w_N = w_N[kept_N]
        positives_L = torch.zeros(y_NL.n_labels, dtype=torch.float64)
        counts = []
        for rows_B in torch.arange(len(rows)).split(_ROWS_AT_A_TIME):
            row_of, label_of = distinct_pairs(rows.view(rows_B))
            counts.append(torch.bincount(row_of, minlength=len(rows_B)))
            positives_L.index_add_(0, label_of, w_N[rows_B][row_of])
        count_N = torch.cat(counts) if counts else torch.zeros(0, dtype=torch.int64)
        return cls(
            positives_L=positives_L,
            known_L=w_N.sum().expand(y_NL.n_labels).clone(),
            rows=len(rows),
            single_label=bool((count_N == 1).all()),
            count_histogram_K=torch.bincount(count_N, weights=w_N),
        )


@dataclass(frozen=True)
class _Sets:
    """Different label sets, M×L booleans, and the weight of the rows that have them."""

    sets_ML: Tensor
    weight_M: Tensor

    def distinct(self) -> "_Sets":
        """The same, each set once."""
        sets_ML, set_of = torch.unique(self.sets_ML, dim=0, return_inverse=True)
        return _Sets(sets_ML, torch.bincount(set_of, weights=self.weight_M, minlength=len(sets_ML)))

    def by_weight(self) -> Tensor:
        """The sets by falling weight."""
        sets_ML: Tensor = self.sets_ML[self.weight_M.argsort(descending=True, stable=True)]
        return sets_ML


@dataclass(frozen=True)
class _Counts:
    """What a chunk of rows adds to the statistics."""

    positives_L: Tensor
    known_L: Tensor
    rows: int
    single_label: bool
    count_histogram_K: Tensor
    highest: int
    sets: _Sets | None

    @classmethod
    def of(cls, y_BL: Tensor, weight_B: Tensor | None, *, with_sets: bool) -> "_Counts":
        if weight_B is not None:  # a row of weight 0 is no row
            y_BL, weight_B = y_BL[weight_B > 0], weight_B[weight_B > 0]
        level_BL, known_BL = split_unknown(y_BL)
        true_BL = level_BL > 0
        w_B = torch.ones(len(y_BL)) if weight_B is None else weight_B
        w_B = w_B.double().to(y_BL.device)
        whole_B = known_BL.all(1)
        n_B = true_BL[whole_B].sum(1)
        most = int(true_BL.sum(1).max()) if len(y_BL) else 0
        return cls(
            positives_L=w_B @ true_BL.double(),
            known_L=w_B @ known_BL.double(),
            rows=len(y_BL),
            single_label=bool(whole_B.all() and (n_B == 1).all()),
            count_histogram_K=torch.bincount(n_B, weights=w_B[whole_B], minlength=most + 1),
            highest=int(level_BL.max()) if level_BL.numel() else 0,
            sets=_Sets(true_BL[whole_B], w_B[whole_B]).distinct() if with_sets else None,
        )

    def plus(self, other: "_Counts") -> "_Counts":
        sets = None
        if self.sets is not None and other.sets is not None:
            sets = _Sets(
                torch.cat([self.sets.sets_ML, other.sets.sets_ML]),
                torch.cat([self.sets.weight_M, other.sets.weight_M]),
            ).distinct()
        few, many = sorted((self.count_histogram_K, other.count_histogram_K), key=len)
        return _Counts(
            positives_L=self.positives_L + other.positives_L,
            known_L=self.known_L + other.known_L,
            rows=self.rows + other.rows,
            single_label=self.single_label and other.single_label,
            count_histogram_K=many + pad(few, (0, len(many) - len(few))),
            highest=max(self.highest, other.highest),
            sets=sets,
        )
