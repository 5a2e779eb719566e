"""Soft F1: one minus the F1 of a batch, with probabilities in place of decisions."""

from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor

from mlc.batch import split_unknown
from mlc.losses.base import BatchLoss
from mlc.outputs.base import LabelOutput
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.scores_only import ScoresOnly


class SoftF1(BatchLoss):
    """Σ_l 1 - 2 tp / (2 tp + fn + fp + ε), the counts over the batch from s = σ(slope · (z + offset)).

    It follows macro-F1 itself, so batches must be large enough to hold a few true rows of each label. A label
    without one costs 1 and has no gradient; one that is unknown in every row of the batch costs nothing.

    Args:
        slope, offset: of s; 1 and 0 give soft F1, a steep slope comes near to decisions (sigmoidF1).
        epsilon: ε, keeps an empty denominator from dividing by zero.

    Scores only: F1 is gained by deciding, so its optimum is 0 or 1 and no probability. z is the raw output;
    on something that has been through σ already a second one would leave hardly any gradient.

    Source: Bénédict, Koops, Odijk & de Rijke, 2021.
    Differs: summed over labels, where the paper takes their mean.
    """

    accepts = (IndependentLabels,)

    def __init__(
        self,
        *,
        slope: Annotated[float, Gt(0)],
        offset: float,
        epsilon: Annotated[float, Gt(0)],
    ):
        super().__init__()
        self.slope = slope
        self.offset = offset
        self.epsilon = epsilon

    def of_batch(self, output: LabelOutput, y_BL: Tensor, weight_B: Tensor) -> Tensor:
        """The labels' losses, added."""
        y_BL, known_BL = split_unknown(y_BL)
        weight_BL = torch.where(known_BL, weight_B[:, None], 0)
        score_BL = self._scores(output)
        tp_L = (weight_BL * score_BL * y_BL).sum(0)
        # 2 tp + fn + fp counts every decided and every true label.
        decided_L, true_L = (weight_BL * score_BL).sum(0), (weight_BL * y_BL).sum(0)
        loss_L = 1 - 2 * tp_L / (decided_L + true_L + self.epsilon)
        return torch.where(weight_BL.any(0), loss_L, 0).sum()

    def link(self, output: LabelOutput) -> LabelOutput:
        """Scores s."""
        return ScoresOnly(output.score_logits(), self._scores(output))

    def _scores(self, output: LabelOutput) -> Tensor:
        return torch.sigmoid(self.slope * (output.score_logits() + self.offset))
