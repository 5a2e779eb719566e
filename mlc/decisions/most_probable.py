"""The most probable label set."""

from torch import Tensor

from mlc.decisions.base import Decision
from mlc.decisions.instead import rules_for_scores
from mlc.errors import UserError
from mlc.outputs.base import LabelOutput, NotDefinedError


class MostProbableSet(Decision):
    """The mode of the model's distribution over label sets, which is optimal for subset accuracy.

    For SingleChoice this is the one label with the largest logit, for LabelLevels every label that is more
    likely there than not. The model's own, under any calibration.
    """

    def check(self, output: LabelOutput) -> None:
        """Raise UserError for a model that defines no most probable set."""
        try:
            output.model.mode()
        except NotDefinedError as error:
            raise UserError(
                f"decision=most_probable needs a distribution over label sets, and "
                f"{type(output.model).__name__} is none: use {rules_for_scores(output)}"
            ) from error

    def fit(self, output: LabelOutput, y_NL: Tensor, weight_N: Tensor | None = None) -> None:
        """Nothing to fit."""

    def forward(self, output: LabelOutput) -> Tensor:
        """B×L booleans."""
        return output.model.mode()

    def thresholds(self) -> None:
        """None: the rule compares sets."""
