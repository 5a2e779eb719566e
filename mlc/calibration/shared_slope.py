"""What labels with many examples teach about the slopes of labels with few: an empirical prior."""

from typing import NamedTuple

import torch
from torch import Tensor

MIN_TEACHERS = 5  # labels that a prior needs; with fewer, their spread says too little
_LOWEST, _HIGHEST, _STEPS = 1e-3, 10.0, 200  # deviations tried, as multiples of the median slope


class SlopePrior(NamedTuple):
    """Slopes of labels, per unit of the score logit, are spread like this Gaussian."""

    mean: float
    deviation: float


def learn_slope_prior(slope_L: Tensor, variance_L: Tensor) -> SlopePrior | None:
    """The Gaussian of true slopes that makes the fitted ones most likely, or None if there are too few.

    A fitted slope is the true one plus an error of known variance (a random-effects model). For each of a
    grid of deviations the best mean is a weighted mean; the most likely pair is taken.

    Args:
        slope_L: float64 fitted slopes.
        variance_L: float64 sampling variances of these, from the Fisher information.

    Source: Morris (1983), "Parametric empirical Bayes inference: theory and applications", section 1.
    Differs: the deviation is on a grid in steps of 5 %, and at least a thousandth of the median slope.
    """
    if len(slope_L) < MIN_TEACHERS:
        return None
    scale = slope_L.abs().median()
    if not scale > 0:
        return None
    # Measured in median slopes, so that scores of any unit stay far from overflow.
    slope_L, variance_L = slope_L / scale, variance_L / scale / scale
    steps = torch.linspace(0, 1, _STEPS, dtype=slope_L.dtype, device=slope_L.device)
    deviation_G = _LOWEST * (_HIGHEST / _LOWEST) ** steps
    total_GL = deviation_G[:, None].square() + variance_L
    mean_G = (slope_L / total_GL).sum(1) / (1 / total_GL).sum(1)
    nll_G = (total_GL.log() + (slope_L - mean_G[:, None]).square() / total_GL).sum(1)
    best = nll_G.argmin()
    return SlopePrior(mean=float(mean_G[best] * scale), deviation=float(deviation_G[best] * scale))
