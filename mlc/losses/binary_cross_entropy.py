"""Binary cross-entropy from logits, with weights whose effect on the probabilities is undone."""

from typing import Annotated, Literal, cast

import torch
from annotated_types import Ge, Gt
from torch import Tensor
from torch.nn import functional as F

from mlc.batch import LabelStatistics
from mlc.losses.base import Loss
from mlc.outputs.base import LabelOutput
from mlc.outputs.independent import IndependentLabels


class BinaryCrossEntropy(Loss):
    """-Σ_l a_l [w_l y_l log σ(z_l) + (1 - y_l) log(1 - σ(z_l))] (S3, S5).

    Args:
        labels: training label statistics.
        positive_weight: w, one number for every label, or "balanced": negatives per positive of each label.
        max_positive_weight: cap of the balanced weights, so that a label with two positives cannot rule.
        label_weight: a, "equal" for 1, or "balanced": in proportion to 1 / (positives of the label), mean 1.

    The optimum under w is logit(p) + log w, so `link` subtracts log w: marginals stay probabilities and the
    ½ threshold keeps its meaning.
    """

    accepts = (IndependentLabels,)

    def __init__(
        self,
        *,
        labels: LabelStatistics,
        positive_weight: Annotated[float, Gt(0)] | Literal["balanced"],
        max_positive_weight: Annotated[float, Ge(1)],
        label_weight: Literal["equal", "balanced"],
    ):
        super().__init__()
        positives_L = labels.positives_L.clamp(min=1)
        if positive_weight == "balanced":
            weight_L = ((labels.rows - positives_L) / positives_L).clamp(
                1 / max_positive_weight, max_positive_weight
            )
        else:
            weight_L = torch.full_like(positives_L, positive_weight)
        self.register_buffer("positive_weight_L", weight_L.float(), persistent=False)
        share_L = 1 / positives_L if label_weight == "balanced" else torch.ones_like(positives_L)
        self.register_buffer("label_weight_L", (share_L / share_L.mean()).float(), persistent=False)
        self.positive_weight_L: Tensor
        self.label_weight_L: Tensor

    def forward(self, output: LabelOutput, y_BL: Tensor) -> Tensor:
        """B losses in nats."""
        logits_BL = cast(IndependentLabels, output).logits_BL
        return F.binary_cross_entropy_with_logits(
            logits_BL, y_BL, weight=self.label_weight_L, pos_weight=self.positive_weight_L, reduction="none"
        ).sum(1)

    def link(self, output: LabelOutput) -> LabelOutput:
        """Logits less log w."""
        return IndependentLabels(cast(IndependentLabels, output).logits_BL - self.positive_weight_L.log())
