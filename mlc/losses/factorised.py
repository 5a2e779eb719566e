"""The factorised loss: one term for the shares, one for the count."""

from typing import Annotated, Literal, cast

import torch
from annotated_types import Ge
from torch import Tensor

from mlc.losses.base import Loss, PairingError
from mlc.losses.shares import share_cross_entropy
from mlc.outputs.base import LabelOutput
from mlc.outputs.counts import PoissonCount
from mlc.outputs.factorised import FactorisedCount


def poisson_nll(log_rate_B: Tensor, n_B: Tensor) -> Tensor:
    """B Poisson negative log-likelihoods λ - n log λ + log n! in nats.

    The constant log n! stays, so that count models can be compared.
    """
    return log_rate_B.exp() - n_B * log_rate_B + torch.lgamma(n_B + 1)


class FactorisedLoss(Loss):
    """share_weight · KL(y/n ‖ P) + count_weight · (count term) (S10, S12).

    Args:
        count_loss: "squared_error" for (Z - n)², "poisson_nll" for the Poisson negative log-likelihood,
            which needs a head with a Poisson count.
        share_weight, count_weight: weights of the two terms.

    A row without labels has no share term; its count term stays.
    """

    accepts = (FactorisedCount,)

    def __init__(
        self,
        *,
        count_loss: Literal["squared_error", "poisson_nll"],
        share_weight: Annotated[float, Ge(0)],
        count_weight: Annotated[float, Ge(0)],
    ):
        super().__init__()
        self.count_loss = count_loss
        self.share_weight = share_weight
        self.count_weight = count_weight

    def check(self, output: LabelOutput) -> None:
        """Also refuse a Poisson likelihood for a count that is no Poisson."""
        super().check(output)
        count = cast(FactorisedCount, output).count
        if self.count_loss == "poisson_nll" and not isinstance(count, PoissonCount):
            raise PairingError(
                f"the Poisson count loss trains PoissonCount, and the head gives {type(count).__name__}"
            )

    def forward(self, output: LabelOutput, y_BL: Tensor) -> Tensor:
        """B losses."""
        factorised = cast(FactorisedCount, output)
        n_B = y_BL.sum(1)
        # KL = cross-entropy less the entropy of y/n, which is log n.
        kl_B = share_cross_entropy(factorised.share_logits_BL, y_BL) - n_B.clamp(min=1).log()
        return self.share_weight * kl_B + self.count_weight * self._count_term(factorised, n_B)

    def _count_term(self, output: FactorisedCount, n_B: Tensor) -> Tensor:
        if self.count_loss == "poisson_nll":
            return poisson_nll(cast(PoissonCount, output.count).log_rate_B, n_B)
        return (output.count.mean() - n_B).square()

    def link(self, output: LabelOutput) -> LabelOutput:
        """The output itself: shares and count are the optima of their own terms."""
        return output
