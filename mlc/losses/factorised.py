"""The factorised loss: one term for the shares, one for the count."""

from typing import Annotated, Literal

import torch
from annotated_types import Ge
from torch import Tensor
from torch.nn import functional as F

from mlc.batch import LabelStatistics, split_unknown
from mlc.losses.base import ExampleLoss, PairingError
from mlc.losses.counts import categorical_map, negative_binomial_nll, poisson_nll
from mlc.losses.shares import share_cross_entropy
from mlc.outputs.base import LabelOutput
from mlc.outputs.counts import CategoricalCount, CountModel, NegativeBinomialCount, PointCount, PoissonCount
from mlc.outputs.factorised import FactorisedCount

_TRAINS: dict[str, tuple[type[CountModel], ...]] = {
    # A squared error would leave all but the mean of the richer distributions untrained.
    "squared_error": (PointCount, PoissonCount),
    "poisson_nll": (PoissonCount,),
    "negative_binomial_nll": (NegativeBinomialCount,),
    "categorical_map": (CategoricalCount,),
}


class FactorisedLoss(ExampleLoss):
    """share_weight · KL(y/n ‖ P) + count_weight · (count term) (S10, S12, S14).

    Args:
        labels: training label statistics.
        count_loss: "squared_error" for (Z - n)²; "poisson_nll", "negative_binomial_nll" and
            "categorical_map" for the likelihood of a count of that kind, see `mlc.losses.counts`.
        share_weight, count_weight: weights of the two terms.
        count_prior_weight: λ of "categorical_map": each row's count is drawn towards the training counts as
            if by λ further observations. The other count losses have no prior.

    A row without labels has no share term; its count term stays. Where labels are unknown, the shares are
    those of the known ones, and the count term is left out: how many labels the row has is not known.
    """

    accepts = (FactorisedCount,)

    def __init__(
        self,
        *,
        labels: LabelStatistics,
        count_loss: Literal["squared_error", "poisson_nll", "negative_binomial_nll", "categorical_map"],
        share_weight: Annotated[float, Ge(0)],
        count_weight: Annotated[float, Ge(0)],
        count_prior_weight: Annotated[float, Ge(0)],
    ):
        super().__init__()
        self.count_loss = count_loss
        self.share_weight = share_weight
        self.count_weight = count_weight
        self.count_prior_weight = count_prior_weight
        rows_K = labels.count_histogram_K
        share_K = (rows_K / rows_K.sum().clamp(min=torch.finfo(rows_K.dtype).tiny)).float()
        # A head counts to 1 at least, even where no training row has a label.
        prior_K = F.pad(share_K, (0, max(0, 2 - len(share_K))))
        self.register_buffer("count_prior_K", prior_K, persistent=False)
        self.count_prior_K: Tensor

    def check(self, output: LabelOutput) -> None:
        """Also refuse a count that this count loss does not train."""
        super().check(output)
        assert isinstance(output, FactorisedCount), "accepted above"
        kinds = _TRAINS[self.count_loss]
        if not isinstance(output.count, kinds):
            wanted = " or ".join(kind.__name__ for kind in kinds)
            raise PairingError(
                f"the count loss {self.count_loss} trains {wanted}, and the head gives "
                f"{type(output.count).__name__}"
            )

    def per_example(self, output: LabelOutput, y_BL: Tensor) -> Tensor:
        """B losses."""
        assert isinstance(output, FactorisedCount), "check() comes first"
        y_BL, known_BL = split_unknown(y_BL)
        n_B = y_BL.sum(1)
        # KL = cross-entropy less the entropy of y/n, which is log n.
        kl_B = share_cross_entropy(output.share_logits_BL, y_BL, known_BL) - n_B.clamp(min=1).log()
        count_B = torch.where(known_BL.all(1), self._count_term(output.count, n_B, y_BL.shape[1]), 0)
        return self.share_weight * kl_B + self.count_weight * count_B

    def beside_shares(self, count: CountModel, n_B: Tensor, whole_B: Tensor, *, largest: int) -> Tensor:
        """B losses without the cross-entropy of the shares: what does not depend on the labels' logits.

        Args:
            count: of the head.
            n_B: numbers of labels that are known to be true.
            whole_B: whether all labels of the row are known.
            largest: at least the largest n.
        """
        count_B = torch.where(whole_B, self._count_term(count, n_B, largest), 0)
        return self.count_weight * count_B - self.share_weight * n_B.clamp(min=1).log()

    def _count_term(self, count: CountModel, n_B: Tensor, largest: int) -> Tensor:
        match count:
            case _ if self.count_loss == "squared_error":
                return (count.mean() - n_B).square()
            case PoissonCount():
                return poisson_nll(count.log_rate_B, n_B)
            case NegativeBinomialCount():
                return negative_binomial_nll(count, n_B, max_count=largest)
            case CategoricalCount():
                prior_K = self.count_prior_K.to(count.logits_BK.dtype)
                return categorical_map(count, n_B, prior_K=prior_K, prior_weight=self.count_prior_weight)
            case _:
                raise TypeError(f"check() refuses {type(count).__name__}")

    def link(self, output: LabelOutput) -> LabelOutput:
        """The output itself: shares and count are the optima of their own terms, under the prior given."""
        return output
