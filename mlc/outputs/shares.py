"""Label shares: softmax trained on y / n, read as how the labels divide one unit among them."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from mlc.outputs.base import LabelOutput, not_defined, register_pytree
from mlc.outputs.log_odds import softmax_log_odds

_INSTEAD = (
    "shares rank labels and do not say how many are true; calibrate on validation data (calibration=platt)"
)


@register_pytree
@dataclass(frozen=True, eq=False)
class LabelShares(LabelOutput):
    """softmax(z) as shares: E[y_l / n | x]. It ranks labels and defines no distribution over label sets.

    Args:
        logits_BL: raw tensors z.
    """

    logits_BL: Tensor

    def score_logits(self) -> Tensor:
        """The log-odds of the shares."""
        return softmax_log_odds(self.logits_BL)

    def scores(self) -> Tensor:
        """softmax(z)."""
        return F.softmax(self.logits_BL, dim=1)

    def marginals(self) -> Tensor:
        """Not defined."""
        not_defined(self, "marginals", _INSTEAD)

    def cardinality(self) -> Tensor:
        """Not defined."""
        not_defined(self, "cardinality", _INSTEAD)

    def expected_count(self) -> Tensor:
        """Not defined."""
        not_defined(self, "expected count", "use head=factorised, which adds a count to the shares")

    def log_prob(self, y_BL: Tensor) -> Tensor:
        """Not defined."""
        not_defined(self, "probability of a label set", _INSTEAD)

    def mode(self) -> Tensor:
        """Not defined."""
        not_defined(self, "most probable set", "use decision=global_threshold or decision=top_k")
