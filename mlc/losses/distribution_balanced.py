"""Distribution-balanced loss: focal loss for long tails of labels that occur together."""

from typing import Annotated, cast

import torch
from annotated_types import Ge, Gt
from torch import Tensor

from mlc.batch import LabelStatistics
from mlc.losses.base import LabelLoss
from mlc.losses.focal import focal_term
from mlc.outputs.base import LabelOutput
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.scores_only import ScoresOnly


class DistributionBalancedLoss(LabelLoss):
    """Σ_l w_l [y (1 - q)^γ (-log q) + (1 - y)/λ · p^γ (-log(1 - p))], q = σ(z - ν), p = σ(λ (z - ν)).

    Two ideas. *Re-balanced weights* w = α + σ(β (r - μ)): r_l = (1/n_l) / Σ_true (1/n_j) is how often a row
    would be drawn for label l alone, in relation to how often it is drawn for any of its known labels. A row
    without labels has the limit r = ∞. *Negative-tolerant regularisation*: the bias ν = κ log(N/n - 1) / λ
    asks less of a rare label before it counts as false, and λ > 1 lets go of it sooner once it does.

    Args:
        labels: training label statistics; n positives of each label among the N rows in which it is known.
        weight_floor: α.
        weight_slope: β.
        weight_centre: μ.
        negative_scale: λ.
        bias_scale: κ.
        gamma: γ, the focus.

    Scores only: w depends on the row's other labels, so the optimum depends on which labels occur together
    and not on P(y_l = 1 | x) alone.

    Source: Wu, Huang, Liu, Wang & Lin, 2020.
    Differs: ν has the /λ of the authors' code; summed over labels; without the code's constant factor 2 on
        the focal term. The paper draws rows by label (class-aware sampling), which this project does not. A
        label that is never or always true counts as half a row away from that, so that ν stays finite.
    """

    accepts = (IndependentLabels,)

    def __init__(
        self,
        *,
        labels: LabelStatistics,
        weight_floor: Annotated[float, Ge(0)],
        weight_slope: Annotated[float, Gt(0)],
        weight_centre: float,
        negative_scale: Annotated[float, Gt(0)],
        bias_scale: Annotated[float, Ge(0)],
        gamma: Annotated[float, Ge(0)],
    ):
        super().__init__()
        self.weight_floor = weight_floor
        self.weight_slope = weight_slope
        self.weight_centre = weight_centre
        self.negative_scale = negative_scale
        self.gamma = gamma
        known_L = labels.known_L.clamp(min=1)
        positives_L = labels.positives_L.clamp(min=0.5).minimum(known_L - 0.5)
        bias_L = bias_scale * torch.log(known_L / positives_L - 1) / negative_scale
        self.register_buffer("rarity_L", (1 / positives_L).float(), persistent=False)
        self.register_buffer("bias_L", bias_L.float(), persistent=False)
        self.rarity_L: Tensor
        self.bias_L: Tensor

    def per_label(self, output: LabelOutput, y_BL: Tensor) -> Tensor:
        """B×L losses."""
        logits_BL = cast(IndependentLabels, output).logits_BL - self.bias_L
        false_BL = 1 - y_BL
        signed_BL = logits_BL * (y_BL - self.negative_scale * false_BL)
        scale_BL = y_BL + false_BL / self.negative_scale
        return self._weights(y_BL) * scale_BL * focal_term(signed_BL, self.gamma)

    def _weights(self, y_BL: Tensor) -> Tensor:
        """B×L re-balanced weights w."""
        ratio_BL = self.rarity_L / (y_BL * self.rarity_L).sum(1, keepdim=True)
        return self.weight_floor + torch.sigmoid(self.weight_slope * (ratio_BL - self.weight_centre))

    def link(self, output: LabelOutput) -> LabelOutput:
        """Scores σ(z)."""
        return ScoresOnly(output.score_logits(), output.scores())
