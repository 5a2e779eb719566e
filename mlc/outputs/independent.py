"""Independent labels: one Bernoulli per label."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mlc.batch import split_unknown
from mlc.outputs.base import LabelOutput, register_pytree
from mlc.outputs.leave_one_out import multiply, products_without_each


def poisson_binomial(p_BL: Tensor) -> Tensor:
    """B×(L+1) distribution of the number of successes among independent Bernoullis p_BL.

    Exact, by adding one label at a time: O(L²) per row, every term positive, so nothing cancels.

    Source: the classic recursion (Barlow & Heidmann, 1984).
    """
    pmf_BK = F.pad(torch.ones_like(p_BL[:, :1]), (0, p_BL.shape[1]))
    for p_B1 in torch.split(p_BL, 1, dim=1):
        pmf_BK = pmf_BK * (1 - p_B1) + F.pad(pmf_BK[:, :-1], (1, 0)) * p_B1
    return pmf_BK


@register_pytree
@dataclass(frozen=True, eq=False)
class IndependentLabels(LabelOutput):
    """P(y | x) = Π_l Bernoulli(y_l; σ(z_l)).

    Args:
        logits_BL: raw tensors z.
    """

    logits_BL: Tensor

    def score_logits(self) -> Tensor:
        """The logits."""
        return self.logits_BL

    def scores(self) -> Tensor:
        """The marginals."""
        return torch.sigmoid(self.logits_BL)

    def marginals(self) -> Tensor:
        """σ(z)."""
        return torch.sigmoid(self.logits_BL)

    def marginals_by_count(self) -> Tensor:
        """B×L×(L+1) probabilities P(y_l = 1, Σy = s | x), s = 0..L; O(L²·log L) per row.

        P(y_l = 1) times the Poisson-binomial distribution of the other labels.
        """
        p_BL = self.marginals()
        factors_BL2 = torch.stack((torch.sigmoid(-self.logits_BL), p_BL), dim=2)
        one = p_BL.new_tensor([1.0, 0.0])
        others_BLK = products_without_each(factors_BL2, p_BL.shape[1], one=one, times=multiply)
        return F.pad(p_BL[:, :, None] * others_BLK, (1, 0))

    def cardinality(self) -> Tensor:
        """Poisson-binomial distribution of the marginals."""
        return poisson_binomial(self.marginals())

    def expected_count(self) -> Tensor:
        """Σ_l σ(z_l)."""
        return self.marginals().sum(1)

    def log_prob(self, y_BL: Tensor) -> Tensor:
        """Σ_l log Bernoulli(y_l; σ(z_l)) over the known labels, from logits."""
        y_BL, known_BL = split_unknown(y_BL)
        nll_BL = F.binary_cross_entropy_with_logits(self.logits_BL, y_BL, reduction="none")
        return -torch.where(known_BL, nll_BL, 0.0).sum(1)

    def mode(self) -> Tensor:
        """Every label with σ(z) > ½."""
        return self.logits_BL > 0
