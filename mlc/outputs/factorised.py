"""Factorised count: how many labels, times how they share that number."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from mlc.outputs.base import LabelOutput, not_defined, register_pytree
from mlc.outputs.counts import CountModel

_INSTEAD = (
    "count x share can exceed 1, so it is no probability; calibrate on validation data (calibration=platt)"
)


@register_pytree
@dataclass(frozen=True, eq=False)
class FactorisedCount(LabelOutput):
    """Expected labels F = Z · P with P = softmax(z) and Z the mean of a count model.

    Args:
        share_logits_BL: raw tensors z of the shares.
        count: the count model.
    """

    share_logits_BL: Tensor
    count: CountModel

    def score_logits(self) -> Tensor:
        """log Z + log P."""
        return self.log_shares() + self.count.log_mean()[:, None]

    def scores(self) -> Tensor:
        """Z · P, expected labels: may exceed 1."""
        return F.softmax(self.share_logits_BL, dim=1) * self.count.mean()[:, None]

    def log_shares(self) -> Tensor:
        """B×L log P."""
        return F.log_softmax(self.share_logits_BL, dim=1)

    def marginals(self) -> Tensor:
        """Not defined."""
        not_defined(self, "marginals", _INSTEAD)

    def cardinality(self) -> Tensor:
        """The count model's distribution, where it has one."""
        return self.count.pmf(self.share_logits_BL.shape[1])

    def expected_count(self) -> Tensor:
        """Z."""
        return self.count.mean()

    def log_prob(self, y_BL: Tensor) -> Tensor:
        """Not defined."""
        not_defined(self, "probability of a label set", _INSTEAD)

    def mode(self) -> Tensor:
        """Not defined."""
        not_defined(self, "most probable set", "use decision=by_count, decision=top_k or a fitted threshold")
