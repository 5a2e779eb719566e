"""As many labels as the model expects."""

from torch import Tensor

from mlc.decisions.base import Decision
from mlc.decisions.ranking import highest
from mlc.errors import UserError
from mlc.outputs.base import LabelOutput, NotDefinedError


class ByCount(Decision):
    """The n highest-scoring labels, n = the model's expected count rounded half up and kept in 0..L.

    Count and ranking are both the model's own, under any calibration; of equal scores the first label wins.
    """

    def check(self, output: LabelOutput) -> None:
        """Raise UserError for a model without an expected count."""
        try:
            output.model.expected_count()
        except NotDefinedError as error:
            raise UserError(
                f"decision=by_count needs a model with an expected count, and {type(output.model).__name__} "
                f"has none: use head=factorised with its default loss, or decision=global_threshold or top_k"
            ) from error

    def fit(self, output: LabelOutput, y_NL: Tensor) -> None:
        """Nothing to fit."""

    def forward(self, output: LabelOutput) -> Tensor:
        """B×L booleans."""
        scores_BL = output.model.score_logits()
        # In float64, because 0.49999997 + 0.5 is 1 in float32.
        n_B = (output.model.expected_count().double() + 0.5).floor().clamp(0, scores_BL.shape[1])
        return highest(scores_BL, n_B)

    def thresholds(self) -> None:
        """None: the rule ranks."""
