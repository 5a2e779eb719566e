"""Absolute KL of pseudo-distributions: every term of the divergence counts as positive."""

import math
from typing import Annotated, cast

import torch
from annotated_types import Interval
from torch import Tensor
from torch.nn import functional as F

from mlc.losses.base import LabelLoss
from mlc.outputs.base import LabelOutput
from mlc.outputs.factorised import FactorisedCount
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.scores_only import ScoresOnly


def absolute_kl(q_BL: Tensor, y_BL: Tensor, epsilon: float) -> Tensor:
    """B×L terms |(y - q) log(y / q)|, both clipped below at epsilon.

    The rows need not sum to 1: summed over labels it is Jeffreys' divergence of pseudo-distributions.
    """
    q_BL, y_BL = q_BL.clamp(min=epsilon), y_BL.clamp(min=epsilon)
    return (y_BL - q_BL) * (y_BL / q_BL).log()


class AbsoluteKL(LabelLoss):
    """Absolute KL on σ(z) (S13), or on the product Z · P of a factorised head (S11).

    Args:
        epsilon: where both sides are clipped below.

    Not proper: with P(y=1) = p its optimum q solves p M(q) = (1 - p) N(q), with
    M = (1 - q)/q - log q and N = log(q/ε) + 1 - ε/q, so q is far below p (p = ½ gives q = .077 at ε = 1e-7).
    N grows and M falls with q, hence p = N / (N + M) is an exact inverse link for σ(z). The product of a
    factorised head has no such reading as probabilities (it may exceed 1): there the loss leaves scores.
    Below ε the clipping leaves no gradient: a true label that falls so low stays there.

    An unknown label leaves out its own term alone: Z · P_l stands for label l in the whole row. With shares
    of the known labels only, Z would learn how many labels are known to be true.
    """

    accepts = (IndependentLabels, FactorisedCount)
    sums_over_labels = (IndependentLabels,)

    def __init__(self, *, epsilon: Annotated[float, Interval(gt=0, lt=1)]):
        super().__init__()
        self.epsilon = epsilon

    def per_label(self, output: LabelOutput, y_BL: Tensor) -> Tensor:
        """B×L losses."""
        return absolute_kl(output.scores(), y_BL, self.epsilon)

    def link(self, output: LabelOutput) -> LabelOutput:
        """Marginals N / (N + M) for independent labels; scores only for a factorised output."""
        if isinstance(output, FactorisedCount):
            return ScoresOnly(output.score_logits(), output.scores())
        logits_BL = cast(IndependentLabels, output).logits_BL
        # From logits: 1 - q and log q lose their digits near q = 1, and (1 - q)/q overflows near q = 0.
        log_m_BL = torch.logaddexp(-logits_BL, F.softplus(-logits_BL).log())
        log_ratio_BL = F.logsigmoid(logits_BL) - math.log(self.epsilon)
        n_BL = log_ratio_BL - torch.expm1(-log_ratio_BL)
        # Up to q = ε the loss is flat, which is its optimum for p = 0 alone.
        log_n_BL = n_BL.clamp(min=torch.finfo(logits_BL.dtype).tiny).log()
        return IndependentLabels(log_n_BL - log_m_BL)
