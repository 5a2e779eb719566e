"""As many labels as the model expects."""

from typing import Literal

from torch import Tensor

from mlc.decisions.base import Decision
from mlc.decisions.instead import rules_for_scores
from mlc.decisions.ranking import highest
from mlc.errors import UserError
from mlc.outputs.base import LabelOutput, NotDefinedError


class ByCount(Decision):
    """The n highest-scoring labels, with n from the model's own count.

    Count and ranking are both the model's own, under any calibration; of equal scores the first label wins.

    Args:
        n_labels: number of labels L.
        count: `mean`, the expected count rounded half up and kept in 0..L; or `mode`, the most probable
            count (the smaller of two).
    """

    def __init__(self, *, n_labels: int, count: Literal["mean", "mode"]):
        super().__init__(n_labels=n_labels)
        self.count = count

    def check(self, output: LabelOutput) -> None:
        """Raise UserError for a model without the count that is asked for."""
        name = type(output.model).__name__
        try:
            output.model.expected_count()
        except NotDefinedError as error:
            raise UserError(
                f"decision=by_count needs a model with an expected count, and {name} has none: "
                f"use head=factorised with its default loss, or {rules_for_scores(output)}"
            ) from error
        try:
            self._count(output.model)
        except NotDefinedError as error:
            raise UserError(
                f"decision.count=mode needs a distribution of the count, and this {name} has only its mean: "
                f"use decision.count=mean or head=factorised_poisson"
            ) from error

    def fit(self, output: LabelOutput, y_NL: Tensor, weight_N: Tensor | None = None) -> None:
        """Nothing to fit."""

    def forward(self, output: LabelOutput) -> Tensor:
        """B×L booleans."""
        return highest(output.model.score_logits(), self._count(output.model))

    def thresholds(self) -> None:
        """None: the rule ranks."""

    def _count(self, model: LabelOutput) -> Tensor:
        """B numbers of labels in 0..L."""
        if self.count == "mode":
            return model.cardinality().argmax(1)
        return self.rounded(model.expected_count())

    def rounded(self, expected_B: Tensor) -> Tensor:
        """B expected numbers of labels, rounded half up and kept in 0..L."""
        # In float64, because 0.49999997 + 0.5 is 1 in float32.
        return (expected_B.double() + 0.5).floor().clamp(0, self.n_labels)
