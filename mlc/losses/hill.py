"""Hill loss: a false label that the network insists on may be a true one that nobody annotated."""

import math
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from mlc.losses.base import LabelLoss
from mlc.losses.focal import focal_term, log_focal_pull
from mlc.outputs.base import LabelOutput
from mlc.outputs.independent import IndependentLabels

_GAMMA = 2.0
_MARGIN = 1.0
_LAMBDA = 1.5


class HillLoss(LabelLoss):
    """Σ_l [-y (1 - q)² log q + (1 - y)(1.5 - p) p²], p = σ(z), q = σ(z - 1), for missing labels.

    The cost of a false label levels off at p = 1, so a confident "mistake" is let be. With P(y=1) = p the
    expected loss is level where p / (1 - p) = N / M, N = 3 σ(z)² σ(-z)² and M the slope of the true label's
    term. log N - log M rises with a slope of at least .41 everywhere, so there is one such z, it is the
    optimum, and the ratio is an exact inverse link. That undoes the loss, and not the annotation: the
    marginals are those of the labels as they were written down.

    Source: Zhang, Cheng, Huang, Wen, Feng, Li & Guo, 2021 (λ 1.5, γ 2, m 1). These are no options,
        because the link is exact for them and not for all others (m = 2 gives some p two local optima).
    Differs: from logits. The inverse link is this project's.
    """

    accepts = (IndependentLabels,)
    sums_over_labels = (IndependentLabels,)

    def per_label(self, output: LabelOutput, y_BL: Tensor) -> Tensor:
        """B×L losses."""
        logits_BL = cast(IndependentLabels, output).logits_BL
        p_BL = torch.sigmoid(logits_BL)
        positive_BL = focal_term(logits_BL - _MARGIN, _GAMMA)
        return torch.where(y_BL > 0.5, positive_BL, (_LAMBDA - p_BL) * p_BL.square())

    def link(self, output: LabelOutput) -> LabelOutput:
        """Logits log N - log M."""
        logits_BL = cast(IndependentLabels, output).logits_BL
        # d/dz (λ - p) p² = (2λ - 3p) p · p (1 - p), and 2λ = 3.
        log_n_BL = math.log(3) + 2 * (F.logsigmoid(logits_BL) + F.logsigmoid(-logits_BL))
        return IndependentLabels(log_n_BL - log_focal_pull(logits_BL - _MARGIN, _GAMMA))
