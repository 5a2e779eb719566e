"""A fixed threshold on marginals."""

from typing import Annotated

from annotated_types import Interval
from torch import Tensor

from mlc.decisions.marginals import require_marginals
from mlc.decisions.threshold_rule import ThresholdRule
from mlc.outputs.base import LabelOutput


class FixedThreshold(ThresholdRule):
    """Every label whose marginal is above one given threshold; nothing is fitted.

    ½ is optimal for the Hamming loss of any model, and for subset accuracy under IndependentLabels.

    Args:
        n_labels: number of labels L.
        threshold: the threshold; a marginal equal to it is not decided.
    """

    def __init__(self, *, n_labels: int, threshold: Annotated[float, Interval(gt=0, lt=1)]):
        super().__init__(n_labels=n_labels, threshold=threshold)

    def check(self, output: LabelOutput) -> None:
        """Raise UserError for an output without marginals."""
        require_marginals(output, rule="fixed")

    def fit(self, output: LabelOutput, y_NL: Tensor, weight_N: Tensor | None = None) -> None:
        """Nothing to fit."""
