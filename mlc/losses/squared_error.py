"""Squared error on probabilities: the baseline that cross-entropy replaced."""

from typing import cast

from torch import Tensor

from mlc.losses.base import LabelLoss
from mlc.outputs.base import LabelOutput
from mlc.outputs.independent import IndependentLabels


class SquaredError(LabelLoss):
    """Σ_l (y_l - σ(z_l))² (S20). Proper (the Brier score), but its gradient dies where σ saturates."""

    accepts = (IndependentLabels,)
    sums_over_labels = (IndependentLabels,)

    def per_label(self, output: LabelOutput, y_BL: Tensor) -> Tensor:
        """B×L losses."""
        return (y_BL - cast(IndependentLabels, output).marginals()).square()

    def link(self, output: LabelOutput) -> LabelOutput:
        """The output itself: the optimum is p."""
        return output
