"""Focal loss: cross-entropy that turns away from what is already right."""

import math
from typing import Annotated, cast

import torch
from annotated_types import Ge, Interval
from torch import Tensor
from torch.nn import functional as F

from mlc.losses.base import LabelLoss
from mlc.outputs.base import LabelOutput
from mlc.outputs.independent import IndependentLabels

# Beyond it -log σ(z) = exp(-z) to the last digit of float64, and below float32's range soon after.
_LARGE_LOGIT = 40.0


def focal_term(logits: Tensor, gamma: float) -> Tensor:
    """-(1 - q)^γ log q with q = σ(z): the cost of a true label; that of a false one is at -z."""
    return -(gamma * F.logsigmoid(-logits)).exp() * F.logsigmoid(logits)


def log_focal_pull(logits: Tensor, gamma: float) -> Tensor:
    """The logarithm of -d/dz focal_term = (1 - q)^γ (1 - q - γ q log q), finite for every logit."""
    log_q, log_rest = F.logsigmoid(logits), F.logsigmoid(-logits)
    log_nll = torch.where(logits > _LARGE_LOGIT, -logits, (-log_q).log())
    log_gamma = math.log(gamma) if gamma > 0 else -math.inf
    return gamma * log_rest + torch.logaddexp(log_rest, log_gamma + log_q + log_nll)


class FocalLoss(LabelLoss):
    """-Σ_l α_t (1 - p_t)^γ log p_t, from logits; p_t = σ(z) where the label is true, else 1 - σ(z).

    Args:
        gamma: γ, how fast the cost of a label falls as it is decided rightly; 0 is cross-entropy.
        alpha: α, weight of the true labels; false ones weigh 1 - α.

    Not proper for γ > 0: σ(z) is pulled towards ½. With f(q) = -(1 - q)^γ log q the expected loss
    α p f(q) + (1 - α)(1 - p) f(1 - q) is strictly convex in q (f is a power series in 1 - q with positive
    terms), so its only stationary point is the optimum, and there

        p / (1 - p) = (1 - α)/α · M(1 - q) / M(q)    with M(q) = -f'(q),

    which is strictly increasing in q: an exact inverse link, for any α.

    Source: Lin, Goyal, Girshick, He & Dollár, 2017, eq. 5; the inverse for α = ½: Charoenphakdee,
        Vongkulbhisal, Chairatanakul & Sugiyama, 2021.
    Differs: summed over labels, and not divided by the number of true ones; the inverse holds for any α.
    """

    accepts = (IndependentLabels,)
    sums_over_labels = (IndependentLabels,)

    def __init__(self, *, gamma: Annotated[float, Ge(0)], alpha: Annotated[float, Interval(gt=0, lt=1)]):
        super().__init__()
        self.gamma = gamma
        self.alpha = alpha

    def per_label(self, output: LabelOutput, y_BL: Tensor) -> Tensor:
        """B×L losses."""
        sign_BL = 2 * y_BL - 1
        weight_BL = self.alpha * y_BL + (1 - self.alpha) * (1 - y_BL)
        logits_BL = cast(IndependentLabels, output).logits_BL
        return weight_BL * focal_term(sign_BL * logits_BL, self.gamma)

    def link(self, output: LabelOutput) -> LabelOutput:
        """Logits of p from the stationarity condition."""
        logits_BL = cast(IndependentLabels, output).logits_BL
        pull_up_BL = log_focal_pull(logits_BL, self.gamma)
        pull_down_BL = log_focal_pull(-logits_BL, self.gamma)
        return IndependentLabels(pull_down_BL - pull_up_BL + math.log((1 - self.alpha) / self.alpha))
