"""A threshold that bounds the share of true labels that are missed."""

from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor

from mlc.decisions.cuts import counted
from mlc.decisions.threshold_rule import ThresholdRule
from mlc.outputs.base import LabelOutput

_ROUNDING = 1e-9  # of a sum of per-row rates: a bound that is met exactly must not fail by rounding


class ConformalThreshold(ThresholdRule):
    """One threshold for all labels that misses at most a given share of an example's labels, on average.

    It is the highest threshold with n/(n+1) · R + 1/(n+1) ≤ α on the n validation rows, where R is the mean
    share of a row's labels that are missed (0 for a row without labels). Then a new row misses at most α of
    its labels in expectation, whatever the model, if it is exchangeable with the validation rows: these must
    not have shaped the model, and where they also picked the checkpoint or the calibration, the bound is
    approximate.

    A row's share is that of its known labels, and a row without a known label is none of the n. The bound is
    then one for the known labels of a new row, of which as many are known.

    With weights, n is their sum and R the weighted mean, so that a row of weight k is k rows. Counts of equal
    rows keep the bound. Weights that say how much more often such a row comes in future than it came here
    (importance weights) keep it for a new row of weight 1 or less; a new row of weight w would ask for w in
    place of both 1s, so over all new rows the bound is off by at most (largest weight - 1) / n.

    With fewer than 1/α - 1 rows no threshold is good enough: everything is decided, and `fallback_L` is true
    for every label.

    Args:
        n_labels: number of labels L.
        false_negative_rate: α.

    Source: Angelopoulos, Bates, Fisch, Lei & Schuster (2024), "Conformal risk control", equation 4
        (arXiv 2208.02814), with B = 1; for the weights its section on distribution shift.
    """

    def __init__(self, *, n_labels: int, false_negative_rate: Annotated[float, Interval(gt=0, lt=1)]):
        super().__init__(n_labels=n_labels, threshold=0.5)
        self.false_negative_rate = false_negative_rate
        self.register_buffer("fallback_L", torch.zeros(n_labels, dtype=torch.bool))
        self.fallback_L: Tensor

    def check(self, output: LabelOutput) -> None:
        """Every output has scores, so every output fits."""

    @torch.no_grad()
    def fit(self, output: LabelOutput, y_NL: Tensor, weight_N: Tensor | None = None) -> None:
        """Find the highest threshold whose risk is bounded, exactly."""
        row_count_N = counted(y_NL, weight_N).amax(1)
        allowed = self.false_negative_rate * (float(row_count_N.sum()) + 1) - 1
        self.fallback_L.fill_(allowed < 0)
        threshold = highest_threshold(output.scores().float(), y_NL, row_count_N, allowed=allowed)
        self.threshold_L.fill_(threshold)


def highest_threshold(scores_NL: Tensor, y_NL: Tensor, row_count_N: Tensor, *, allowed: float) -> float:
    """The highest float32 t for which `scores > t` misses at most `allowed`; -inf if there is none.

    Args:
        scores_NL: float32 scores.
        y_NL: targets: 0, 1 or NaN where unknown.
        row_count_N: float64, how often each row counts.
        allowed: bound on the sum over rows of the share of the row's known labels that is missed.

    Returns:
        t, just below a score of a true label; inf if all may be missed.
    """
    if allowed < 0:
        return -torch.inf
    is_true_NL = y_NL > 0
    share_N = row_count_N / is_true_NL.sum(1).clamp(min=1)
    score_T, order_T = scores_NL[is_true_NL].sort()
    # What is missed by a threshold that is not below this true label: with a tie, all of the tie.
    missed_T = share_N[:, None].expand_as(scores_NL)[is_true_NL][order_T].cumsum(0)
    _, ties = score_T.unique_consecutive(return_counts=True)
    missed_T = missed_T[ties.cumsum(0) - 1].repeat_interleave(ties)
    kept_T = score_T[missed_T > allowed + _ROUNDING]
    if not len(kept_T):
        return torch.inf
    return float(kept_T[0].nextafter(kept_T.new_tensor(-torch.inf)))
