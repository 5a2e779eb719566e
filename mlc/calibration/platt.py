"""Platt scaling: a sigmoid per label that turns any score into a probability."""

import torch
from torch import Tensor

from mlc.calibration.base import Calibrator
from mlc.calibration.logistic_fit import fit_logistic
from mlc.outputs.base import LabelOutput
from mlc.outputs.calibrated import CalibratedLabels

MIN_SLOPE = 0.01  # per standard deviation of the label's validation scores
_BLOCK_CELLS = 2**21  # scores in float64 at a time: 16 MB, a few times over


class Platt(Calibrator):
    """P(y_l = 1 | x) = σ(a_l (s_l - c_l) + b_l) on the output's score logits s, for every kind of output.

    c is the label's mean score on validation data, which keeps float32 from cancelling; the intercept of
    σ(a s + b') is b' = b - a c. Targets are Platt's, (N₊ + 1) / (N₊ + 2) for a positive and 1 / (N₋ + 2) for
    a negative, so the fit is finite even where a label is perfectly separated.

    Args:
        n_labels: number of labels L.

    Source: Platt (1999), "Probabilistic outputs for support vector machines", section 2.1; damped Newton as
        in Lin, Lin & Weng (2007), "A note on Platt's probabilistic outputs".
    Differs: a_l is at least MIN_SLOPE per standard deviation of the label's scores, so calibration never
        reverses a ranking. A label whose best slope is smaller (its scores mislead, do not vary, or it has no
        positive or no negative) gets that slope with the best b_l: nearly its smoothed frequency, for
        every example. `fallback_L` says which labels these are.
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
    def fit(self, output: LabelOutput, y_NL: Tensor) -> None:
        """Fit the sigmoid of every label, many labels at a time."""
        block = max(1, _BLOCK_CELLS // len(y_NL))
        scores, targets = torch.split(output.score_logits(), block, dim=1), torch.split(y_NL, block, dim=1)
        fits = [_fit_block(s_NL.double(), y_NL.double()) for s_NL, y_NL in zip(scores, targets, strict=True)]
        buffers = (self.slope_L, self.centre_L, self.intercept_L, self.fallback_L)
        for buffer, parts in zip(buffers, zip(*fits, strict=True), strict=True):
            buffer.copy_(torch.cat(parts))

    def forward(self, output: LabelOutput) -> CalibratedLabels:
        """Calibrated marginals over the output."""
        centred_BL = output.score_logits() - self.centre_L
        return CalibratedLabels(self.slope_L * centred_BL + self.intercept_L, base=output)


def platt_targets(y_NL: Tensor) -> Tensor:
    """N×L targets (N₊ + 1) / (N₊ + 2) where y = 1 and 1 / (N₋ + 2) where y = 0."""
    positives_L = y_NL.sum(0)
    negatives_L = len(y_NL) - positives_L
    return torch.where(y_NL == 1, (positives_L + 1) / (positives_L + 2), 1 / (negatives_L + 2))


def standardised(s_NL: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Columns of mean 0 and standard deviation 1, the means, and the standard deviations.

    A column that does not vary is only centred: its standard deviation, of rounding errors, counts as 1.
    """
    centre_L = s_NL.mean(0)
    varies_L = s_NL.amax(0) > s_NL.amin(0)
    deviation_L = torch.where(varies_L, s_NL.std(0, correction=0), 1)
    return (s_NL - centre_L) / deviation_L, centre_L, deviation_L


def _fit_block(s_NL: Tensor, y_NL: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Slope, centre, intercept and fallback of every label, from float64 scores and targets."""
    z_NL, centre_L, deviation_L = standardised(s_NL)
    t_NL = platt_targets(y_NL)
    # Platt's own start: no slope, and the smoothed odds of the label.
    intercept_L = t_NL.mean(0).logit()
    start_L2 = torch.stack((torch.zeros_like(intercept_L), intercept_L), dim=1)
    w_L2 = fit_logistic((z_NL,), t_NL, start_LP=start_L2, free_LP=torch.ones_like(start_L2, dtype=torch.bool))
    fallback_L = w_L2[:, 0] < MIN_SLOPE
    if fallback_L.any():
        start_F2 = w_L2[fallback_L].clone()
        start_F2[:, 0] = MIN_SLOPE
        free_F2 = torch.tensor([False, True], device=w_L2.device).expand_as(start_F2)
        w_L2[fallback_L] = fit_logistic(
            (z_NL[:, fallback_L],), t_NL[:, fallback_L], start_LP=start_F2, free_LP=free_F2
        )
    return w_L2[:, 0] / deviation_L, centre_L, w_L2[:, 1], fallback_L
