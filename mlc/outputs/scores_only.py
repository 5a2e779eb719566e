"""Scores only: what a loss leaves when its optimum is no probability."""

from dataclasses import dataclass

from torch import Tensor

from mlc.outputs.base import LabelOutput, not_defined, register_pytree

_INSTEAD = "its loss trains scores, not probabilities; calibrate on validation data (calibration=platt)"


@register_pytree
@dataclass(frozen=True, eq=False)
class ScoresOnly(LabelOutput):
    """Scores that rank labels.

    Args:
        score_logits_BL: scores on an unbounded scale.
        scores_BL: the same scores in the model's own unit, an increasing function of the first.
    """

    score_logits_BL: Tensor
    scores_BL: Tensor

    def score_logits(self) -> Tensor:
        """The scores on an unbounded scale."""
        return self.score_logits_BL

    def scores(self) -> Tensor:
        """The scores in the model's own unit."""
        return self.scores_BL

    def marginals(self) -> Tensor:
        """Not defined."""
        not_defined(self, "marginals", _INSTEAD)

    def cardinality(self) -> Tensor:
        """Not defined."""
        not_defined(self, "cardinality", _INSTEAD)

    def expected_count(self) -> Tensor:
        """Not defined."""
        not_defined(self, "expected count", _INSTEAD)

    def log_prob(self, y_BL: Tensor) -> Tensor:
        """Not defined."""
        not_defined(self, "probability of a label set", _INSTEAD)

    def mode(self) -> Tensor:
        """Not defined."""
        not_defined(self, "most probable set", "use decision=global_threshold or decision=top_k")
