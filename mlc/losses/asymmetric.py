"""Asymmetric loss: focal loss with a focus for each side, and a cut below which false labels are free."""

import math
from typing import Annotated, cast

import torch
from annotated_types import Ge, Interval
from torch import Tensor
from torch.nn import functional as F

from mlc.losses.base import LabelLoss
from mlc.losses.focal import focal_term
from mlc.outputs.base import LabelOutput
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.scores_only import ScoresOnly


class AsymmetricLoss(LabelLoss):
    """-Σ_l [y (1 - p)^γ₊ log p + (1 - y) p_m^γ₋ log(1 - p_m)], p = σ(z), p_m = max(p - m, 0).

    Args:
        gamma_positive: γ₊, the focus on true labels.
        gamma_negative: γ₋, the focus on false labels.
        margin: m, a false label costs nothing while its p is at or below it.

    Scores only. Up to m the loss of a false label is flat: every p <= m is an optimum for a label that is
    never true, so an easy label stays wherever it crossed m, and with m = .05 most labels of most rows are
    there. Above m the optimum determines P(y = 1), but an inverse would call all that lies below impossible
    and forget its order.

    Source: Ridnik, Ben-Baruch, Zamir, Noy, Friedman, Protter & Zelnik-Manor, 2021, eq. 5-7.
    Differs: from logits, so no p is clipped at 1e-8; the gradient also flows through the focusing factors, as
        in the equations (the authors' code can stop it there).
    """

    accepts = (IndependentLabels,)
    sums_over_labels = (IndependentLabels,)

    def __init__(
        self,
        *,
        gamma_positive: Annotated[float, Ge(0)],
        gamma_negative: Annotated[float, Ge(0)],
        margin: Annotated[float, Interval(ge=0, lt=1)],
    ):
        super().__init__()
        self.gamma_positive = gamma_positive
        self.gamma_negative = gamma_negative
        self.margin = margin

    def per_label(self, output: LabelOutput, y_BL: Tensor) -> Tensor:
        """B×L losses."""
        logits_BL = cast(IndependentLabels, output).logits_BL
        positive_BL = focal_term(logits_BL, self.gamma_positive)
        return torch.where(y_BL > 0.5, positive_BL, self._negative_term(logits_BL))

    def _negative_term(self, logits_BL: Tensor) -> Tensor:
        log_margin = math.log(self.margin) if self.margin > 0 else -math.inf
        # 1 - p_m = min(1 - p + m, 1)
        log_rest_BL = torch.logaddexp(F.logsigmoid(-logits_BL), logits_BL.new_tensor(log_margin)).clamp(max=0)
        # A power below 1 has no gradient at 0.
        p_m_BL = (-torch.expm1(log_rest_BL)).clamp(min=torch.finfo(logits_BL.dtype).tiny)
        return -(p_m_BL**self.gamma_negative) * log_rest_BL

    def link(self, output: LabelOutput) -> LabelOutput:
        """Scores σ(z)."""
        return ScoresOnly(output.score_logits(), output.scores())
