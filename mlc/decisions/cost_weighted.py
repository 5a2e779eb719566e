"""The threshold that costs of the two kinds of mistake ask for."""

from typing import Annotated

from annotated_types import Gt
from torch import Tensor

from mlc.decisions.marginals import require_marginals
from mlc.decisions.threshold_rule import ThresholdRule
from mlc.outputs.base import LabelOutput


class CostWeighted(ThresholdRule):
    """Every label whose marginal is above c_fp / (c_fp + c_fn), which has the least expected cost.

    Nothing is fitted; with equal costs it is the threshold ½. Costs are the same for every label.

    Args:
        n_labels: number of labels L.
        false_positive: the cost c_fp of deciding a label that is not true.
        false_negative: the cost c_fn of missing a label that is true.

    Source: Elkan (2001), "The foundations of cost-sensitive learning", equation 2.
    """

    def __init__(
        self,
        *,
        n_labels: int,
        false_positive: Annotated[float, Gt(0)],
        false_negative: Annotated[float, Gt(0)],
    ):
        super().__init__(n_labels=n_labels, threshold=1 / (1 + false_negative / false_positive))

    def check(self, output: LabelOutput) -> None:
        """Raise UserError for an output without marginals."""
        require_marginals(output, rule="cost_weighted")

    def fit(self, output: LabelOutput, y_NL: Tensor, weight_N: Tensor | None = None) -> None:
        """Nothing to fit."""
