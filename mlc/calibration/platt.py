"""Platt scaling: a sigmoid per label that turns any score into a probability."""

from typing import NamedTuple

import torch
from torch import Tensor

from mlc.calibration.base import Calibrator
from mlc.calibration.examples import (
    Cells,
    cell_weights,
    counts,
    is_rare,
    log_odds_of_mean,
    platt_targets,
    sizes,
    standardised,
)
from mlc.calibration.logistic_fit import fit_logistic, information
from mlc.calibration.shared_slope import SlopePrior, learn_slope_prior
from mlc.outputs.base import LabelOutput
from mlc.outputs.calibrated import CalibratedLabels

MIN_SLOPE = 0.01  # per standard deviation of the label's validation scores
_BLOCK_CELLS = 2**21  # scores in float64 at a time: 16 MB, a few times over


class Platt(Calibrator):
    """P(y_l = 1 | x) = σ(a_l (s_l - c_l) + b_l) on the output's score logits s, for every kind of output.

    c is the label's mean score on validation data, which keeps float32 from cancelling; the intercept of
    σ(a s + b') is b' = b - a c. Targets are Platt's, (N₊ + 1) / (N₊ + 2) for a positive and 1 / (N₋ + 2) for
    a negative, so the fit is finite even where a label is perfectly separated.

    A rare label, with fewer than 10 positives or negatives, shares its slope: it is drawn to the slopes of
    the other labels by a Gaussian prior that is learned from them (their mean, and how much they truly
    differ), and keeps an intercept of its own. The prior needs 5 labels; with fewer, every label is alone.

    Args:
        n_labels: number of labels L.

    Source: Platt (1999), "Probabilistic outputs for support vector machines", section 2.1; damped Newton as
        in Lin, Lin & Weng (2007), "A note on Platt's probabilistic outputs".
    Differs: rare labels, as above. a_l is at least MIN_SLOPE per standard deviation of the label's scores, so
        calibration never reverses a ranking: a label whose best slope is smaller (its scores mislead or do
        not vary) gets that slope with the best b_l, nearly its smoothed frequency for every example.
        `fallback_L` says which labels are rare or have that slope.
    """

    def __init__(self, *, n_labels: int):
        super().__init__(n_labels=n_labels)
        self.register_buffer("slope_L", torch.ones(n_labels))
        self.register_buffer("centre_L", torch.zeros(n_labels))
        self.register_buffer("intercept_L", torch.zeros(n_labels))
        self.register_buffer("fallback_L", torch.zeros(n_labels, dtype=torch.bool))
        self.slope_L: Tensor
        self.centre_L: Tensor
        self.intercept_L: Tensor
        self.fallback_L: Tensor

    def check(self, output: LabelOutput) -> None:
        """Every output has score logits, so every output fits."""

    @torch.no_grad()
    def fit(self, output: LabelOutput, y_NL: Tensor, weight_N: Tensor | None = None) -> None:
        """Fit the sigmoid of every label, many labels at a time; rare ones with a prior."""
        cells = Cells(output.score_logits(), *cell_weights(y_NL, weight_N))
        rare_L = is_rare(cells.y_NL, cells.weight_NL)
        fit = _fit_sharing(cells, rare_L) if rare_L.any() else _fit(cells)
        # A label of which nothing is known keeps its logits.
        unknown_L = sizes(cells.y_NL, cells.weight_NL) == 0
        self.slope_L.copy_(fit.slope_L.masked_fill(unknown_L, 1))
        self.centre_L.copy_(fit.centre_L)
        self.intercept_L.copy_(fit.intercept_L)
        self.fallback_L.copy_(rare_L | fit.floored_L)

    def forward(self, output: LabelOutput) -> CalibratedLabels:
        """Calibrated marginals over the output."""
        centred_BL = output.score_logits() - self.centre_L
        return CalibratedLabels(self.slope_L * centred_BL + self.intercept_L, base=output)


class _Fit(NamedTuple):
    """Sigmoids of some labels, in float64; slopes are per unit of the score logit.

    Args:
        slope_L, centre_L, intercept_L: of the sigmoid.
        floored_L: whether the slope was lifted to MIN_SLOPE.
        free_slope_L: the slope before that.
        variance_L: its sampling variance; NaN where it was not asked for.
    """

    slope_L: Tensor
    centre_L: Tensor
    intercept_L: Tensor
    floored_L: Tensor
    free_slope_L: Tensor
    variance_L: Tensor


def _fit_sharing(cells: Cells, rare_L: Tensor) -> _Fit:
    """Fit the labels that are not rare, then the rare ones with a prior that is learned from the first.

    Where the first are too few, all labels with a positive and a negative teach; they are then fitted twice.
    """
    common, rare = cells.of_labels(~rare_L), cells.of_labels(rare_L)
    common_fit = _fit(common, with_variance=True)
    prior = _learn_prior(common_fit, common)
    rare_fit = _fit(rare, prior=prior, with_variance=prior is None)
    places_L = torch.cat(((~rare_L).nonzero(), rare_L.nonzero())).squeeze(1).argsort()
    fit = _joined(common_fit, rare_fit, places_L)
    if prior is None and (prior := _learn_prior(fit, cells)) is not None:
        fit = _joined(common_fit, _fit(rare, prior=prior), places_L)
    return fit


def _joined(first: _Fit, second: _Fit, places_L: Tensor) -> _Fit:
    return _Fit(*(torch.cat(pair)[places_L] for pair in zip(first, second, strict=True)))


def _fit(cells: Cells, *, prior: SlopePrior | None = None, with_variance: bool = False) -> _Fit:
    """Fit all labels, block by block."""
    if cells.y_NL.shape[1] == 0:
        none_L = cells.s_NL.new_zeros(0, dtype=torch.float64)
        return _Fit(none_L, none_L, none_L, none_L.bool(), none_L, none_L)
    fits = [_fit_block(block, prior, with_variance) for block in cells.blocks(cells=_BLOCK_CELLS)]
    return _Fit(*(torch.cat(parts) for parts in zip(*fits, strict=True)))


def _fit_block(cells: Cells, prior: SlopePrior | None, with_variance: bool) -> _Fit:
    """Fit some labels in float64."""
    s_NL, y_NL, weight_NL = cells
    z_NL, centre_L, deviation_L = standardised(s_NL, weight_NL)
    t_NL = platt_targets(y_NL, weight_NL)
    # Platt's own start: no slope, and the smoothed odds of the label. A prior starts at its mean.
    intercept_L = log_odds_of_mean(t_NL, weight_NL)
    start_L2 = torch.stack((torch.zeros_like(intercept_L), intercept_L), dim=1)
    precision_L2 = None
    if prior is not None:
        start_L2[:, 0] = prior.mean * deviation_L
        precision_L2 = torch.zeros_like(start_L2)
        precision_L2[:, 0] = 1 / (prior.deviation * deviation_L).square()
    w_L2 = fit_logistic(
        (z_NL,),
        t_NL,
        start_LP=start_L2,
        free_LP=torch.ones_like(start_L2, dtype=torch.bool),
        weight_NL=weight_NL,
        prior_precision_LP=precision_L2,
    )
    variance_L = torch.full_like(centre_L, torch.nan)
    if with_variance:
        information_L22 = information((z_NL,), t_NL, w_L2, weight_NL=weight_NL)
        variance_L = torch.linalg.inv(information_L22)[:, 0, 0] / deviation_L.square()
    free_slope_L = w_L2[:, 0] / deviation_L
    floored_L = w_L2[:, 0] < MIN_SLOPE
    if floored_L.any():
        floored = Cells(z_NL, t_NL, weight_NL).of_labels(floored_L)
        w_L2[floored_L] = _with_smallest_slope(floored, w_L2[floored_L])
    return _Fit(w_L2[:, 0] / deviation_L, centre_L, w_L2[:, 1], floored_L, free_slope_L, variance_L)


def _with_smallest_slope(cells: Cells, w_L2: Tensor) -> Tensor:
    """Slopes of MIN_SLOPE, with the best intercepts, for standardised scores and Platt's targets."""
    z_NL, t_NL, weight_NL = cells
    start_L2 = w_L2.clone()
    start_L2[:, 0] = MIN_SLOPE
    free_L2 = torch.tensor([False, True], device=w_L2.device).expand_as(start_L2)
    return fit_logistic((z_NL,), t_NL, start_LP=start_L2, free_LP=free_L2, weight_NL=weight_NL)


def _learn_prior(fit: _Fit, cells: Cells) -> SlopePrior | None:
    """From the labels with a positive and a negative whose scores vary: others have no slope to teach."""
    has_both_L = torch.minimum(*counts(cells.y_NL, cells.weight_NL)) > 0
    teaches_L = has_both_L & (fit.free_slope_L != 0) & fit.variance_L.isfinite()
    return learn_slope_prior(fit.free_slope_L[teaches_L], fit.variance_L[teaches_L])
