"""Squared hinge loss: what a linear support-vector machine minimises."""

from typing import cast

from torch import Tensor

from mlc.losses.base import LabelLoss
from mlc.outputs.base import LabelOutput
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.scores_only import ScoresOnly


class SquaredHinge(LabelLoss):
    """Σ_l max(0, 1 - s_l z_l)², with s = +1 where the label is true and -1 where it is false.

    Scores only: the optimum is 2p - 1, but a margin that was trained on separable rows lies beyond [-1, 1],
    where it says nothing about p. z = 0 is the natural cut.

    Source: Fan, Chang, Hsieh, Wang & Lin, "LIBLINEAR" (2008), the L2-loss support-vector machine.
    """

    accepts = (IndependentLabels,)
    sums_over_labels = (IndependentLabels,)

    def per_label(self, output: LabelOutput, y_BL: Tensor) -> Tensor:
        """B×L losses."""
        sign_BL = 2 * y_BL - 1
        return (1 - sign_BL * cast(IndependentLabels, output).logits_BL).clamp(min=0).square()

    def link(self, output: LabelOutput) -> LabelOutput:
        """Scores σ(z): the cut z = 0 is at ½."""
        return ScoresOnly(output.score_logits(), output.scores())
