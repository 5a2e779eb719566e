"""Beta calibration: a curve per label for scores that are shares or probabilities."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from mlc.calibration.examples import Cells, log_odds_of_mean, platt_targets, standardised
from mlc.calibration.logistic_fit import fit_logistic, mean_cross_entropy
from mlc.calibration.platt_fallback import PlattFallback
from mlc.errors import UserError
from mlc.outputs.base import LabelOutput
from mlc.outputs.conditional_bernoulli import ConditionalBernoulli
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.shares import LabelShares
from mlc.outputs.single_choice import SingleChoice

_BLOCK_CELLS = 2**21  # scores in float64 at a time: 16 MB, a few times over
# Outputs whose score logits are the log-odds of a score in (0, 1).
_UnitScores = IndependentLabels | SingleChoice | LabelShares | ConditionalBernoulli


class Beta(PlattFallback):
    """logit q_l = a_l ln s - b_l ln(1 - s) + c_l with a_l, b_l ≥ 0, for scores s in (0, 1).

    With a = b it is Platt scaling of the log-odds; a ≠ b bends the two ends apart, as the score
    distributions of a head ask for, and a = b = 1, c = 0 is the identity. Targets are Platt's, which keep the
    fit finite. Labels with fewer than 10 positives or negatives take Platt's sigmoid.

    Args:
        n_labels: number of labels L.

    Source: Kull, Silva Filho & Flach (2017), "Beta calibration: a well-founded and easily implemented
        improvement on logistic calibration for binary classifiers", section 4.
    Differs: Platt's smoothed targets; where a or b would be negative, the best of the bounded fits is taken.
    """

    def __init__(self, *, n_labels: int):
        super().__init__(n_labels=n_labels)
        self.register_buffer("weight_L3", torch.tensor([1.0, 1.0, 0.0]).repeat(n_labels, 1))
        self.weight_L3: Tensor

    def check(self, output: LabelOutput) -> None:
        """Raise UserError for an output whose scores may lie outside of (0, 1)."""
        if not isinstance(output, _UnitScores):
            raise UserError(
                f"calibration=beta needs scores in (0, 1) with log-odds, and {type(output).__name__} has "
                f"others: use calibration=platt, isotonic or histogram"
            )

    def fit_labels(self, cells: Cells) -> None:
        """Fit the curve of every label, many labels at a time."""
        fits = [
            fit_beta(*_log_scores(block.s_NL), platt_targets(block.y_NL, block.weight_NL), block.weight_NL)
            for block in cells.blocks(cells=_BLOCK_CELLS)
        ]
        self.weight_L3.copy_(torch.cat(fits))

    def logits(self, s_BL: Tensor) -> Tensor:
        """a ln s - b ln(1 - s) + c."""
        a_L, b_L, c_L = self.weight_L3.unbind(1)
        log_s_BL, minus_log_rest_BL = _log_scores(s_BL)
        return a_L * log_s_BL + b_L * minus_log_rest_BL + c_L


def _log_scores(s_NL: Tensor) -> tuple[Tensor, Tensor]:
    """ln s and -ln(1 - s), from log-odds."""
    return F.logsigmoid(s_NL), F.softplus(s_NL)


def fit_beta(x_NL: Tensor, v_NL: Tensor, t_NL: Tensor, weight_NL: Tensor | None = None) -> Tensor:
    """L×3 weights (a, b, c) that minimise the cross-entropy of σ(a x + b v + c) with a, b ≥ 0.

    The loss is convex: where the free minimum breaks a bound, the bounded one has a = 0 or b = 0.

    Args:
        x_NL: ln s in float64.
        v_NL: -ln(1 - s) in float64.
        t_NL: targets in (0, 1), in float64.
        weight_NL: how many examples each cell counts for, in float64; None where all are 1.
    """
    (x_NL, x_centre_L, x_deviation_L), (v_NL, v_centre_L, v_deviation_L) = (
        standardised(x_NL, weight_NL),
        standardised(v_NL, weight_NL),
    )
    columns = _Columns(x_NL, v_NL, t_NL, weight_NL)
    start_L3 = torch.zeros(t_NL.shape[1], 3, dtype=t_NL.dtype, device=t_NL.device)
    start_L3[:, 2] = log_odds_of_mean(t_NL, weight_NL)
    w_L3 = _fit(columns, start_L3, free=(True, True))
    broken_L = (w_L3[:, :2] < 0).any(1)
    if broken_L.any():
        w_L3[broken_L] = _fit_on_bounds(columns.of_labels(broken_L), start_L3[broken_L])
    a_L, b_L = w_L3[:, 0] / x_deviation_L, w_L3[:, 1] / v_deviation_L
    return torch.stack((a_L, b_L, w_L3[:, 2] - a_L * x_centre_L - b_L * v_centre_L), dim=1)


class _Columns(NamedTuple):
    """The two features, the targets and the weights of some labels."""

    x_NL: Tensor
    v_NL: Tensor
    t_NL: Tensor
    weight_NL: Tensor | None

    def of_labels(self, labels_L: Tensor) -> "_Columns":
        weight_NL = None if self.weight_NL is None else self.weight_NL[:, labels_L]
        return _Columns(self.x_NL[:, labels_L], self.v_NL[:, labels_L], self.t_NL[:, labels_L], weight_NL)


def _fit_on_bounds(columns: _Columns, start_L3: Tensor) -> Tensor:
    """The better of the fits with a = 0 and with b = 0; a weight that is negative even then is 0, too."""
    x_NL, v_NL, t_NL, weight_NL = columns
    without_a_L3 = _fit(columns, start_L3, free=(False, True))
    without_b_L3 = _fit(columns, start_L3, free=(True, False))
    # The start is the best fit without slopes: its intercept gives the mean of the targets.
    first_L3, second_L3 = (
        torch.where((w_L3[:, :2] < 0).any(1, keepdim=True), start_L3, w_L3)
        for w_L3 in (without_a_L3, without_b_L3)
    )
    first_L, second_L = (
        mean_cross_entropy((x_NL, v_NL), t_NL, w_L3, weight_NL) for w_L3 in (first_L3, second_L3)
    )
    return torch.where((first_L < second_L)[:, None], first_L3, second_L3)


def _fit(columns: _Columns, start_L3: Tensor, *, free: tuple[bool, bool]) -> Tensor:
    x_NL, v_NL, t_NL, weight_NL = columns
    free_L3 = torch.tensor([*free, True], device=t_NL.device).expand_as(start_L3)
    return fit_logistic((x_NL, v_NL), t_NL, start_LP=start_L3, free_LP=free_L3, weight_NL=weight_NL)
