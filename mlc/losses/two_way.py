"""Two-way loss: the hardest true label against the hardest false one, within rows and within labels."""

from typing import Annotated, cast

import torch
from annotated_types import Gt
from torch import Tensor
from torch.nn import functional as F

from mlc.losses.base import BatchLoss
from mlc.outputs.base import LabelOutput
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.scores_only import ScoresOnly


class TwoWayLoss(BatchLoss):
    """Mean over rows + mean over labels of softplus(T₋ lse_false(z / T₋) + T₊ lse_true(-z / T₊)).

    In a row it compares labels, in a label the rows of the batch. A row or label without anything true is
    left out of its mean; one without anything false is perfect and costs 0.

    Args:
        positive_temperature: T₊; larger averages over true labels, smaller looks at the lowest alone.
        negative_temperature: T₋, likewise for false labels.

    Scores only: it sees differences of scores alone, so a shift of all of them costs nothing.

    Source: Kobayashi, 2023.
    Differs: what is absent is left out exactly, where the author's code adds -100 to it. The means are the
        paper's: it is not summed over labels.
    """

    accepts = (IndependentLabels,)

    def __init__(
        self,
        *,
        positive_temperature: Annotated[float, Gt(0)],
        negative_temperature: Annotated[float, Gt(0)],
    ):
        super().__init__()
        self.positive_temperature = positive_temperature
        self.negative_temperature = negative_temperature

    def of_batch(self, output: LabelOutput, y_BL: Tensor, weight_B: Tensor) -> Tensor:
        """The two means, added."""
        logits_BL = cast(IndependentLabels, output).logits_BL
        # An unknown label is NaN: neither true nor false. A row without weight is not there.
        there_B1 = weight_B[:, None] > 0
        true_BL, false_BL = (y_BL > 0.5) & there_B1, (y_BL <= 0.5) & there_B1
        log_weight_B1 = weight_B.log()[:, None]
        rows_B = self._one_way(logits_BL, true_BL, false_BL, dim=1)
        labels_L = self._one_way(logits_BL, true_BL, false_BL, log_weight_B1, dim=0)
        return _mean(rows_B, weight_B * true_BL.any(1)) + _mean(labels_L, true_BL.any(0))

    def _one_way(
        self,
        logits_BL: Tensor,
        true_BL: Tensor,
        false_BL: Tensor,
        log_weight: Tensor | float = 0.0,
        *,
        dim: int,
    ) -> Tensor:
        """Softplus per row (dim=1) or label (dim=0); 0 where nothing is true, or nothing is false."""
        hot, cold = self.positive_temperature, self.negative_temperature
        # Where one side is empty its log-sum-exp is minus infinity, and the softplus 0.
        true_mass = (log_weight - logits_BL / hot).masked_fill(~true_BL, -torch.inf)
        false_mass = (log_weight + logits_BL / cold).masked_fill(~false_BL, -torch.inf)
        return F.softplus(cold * false_mass.logsumexp(dim) + hot * true_mass.logsumexp(dim))

    def link(self, output: LabelOutput) -> LabelOutput:
        """Scores σ(z)."""
        return ScoresOnly(output.score_logits(), output.scores())


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """The weighted mean; 0 where nothing has weight."""
    total = weight.sum()
    return (weight * values).sum() / torch.where(total > 0, total, 1)
