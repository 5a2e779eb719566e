"""Conditional Bernoulli: how many labels, and which set of that size; one distribution over label sets."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mlc.batch import split_unknown
from mlc.outputs.base import LabelOutput, register_pytree
from mlc.outputs.counts import CountModel
from mlc.outputs.elementary_symmetric import (
    LOG_ZERO,
    log_elementary_symmetric,
    prefix_log_sums,
    split_by_inclusion,
)
from mlc.outputs.leave_one_out import multiply_logs, products_without_each
from mlc.outputs.log_sums import log_sum_where


@register_pytree
@dataclass(frozen=True, eq=False)
class ConditionalBernoulli(LabelOutput):
    """P(y | x) = P(n) · Π_l w_l^{y_l} / e_n(w), with n = Σy and e_n the elementary symmetric polynomials.

    The normalised form of count x shares: the count has its own distribution, and among the sets of n labels
    the weights decide. A common factor of all weights changes nothing. With w = p / (1 - p) and the
    Poisson-binomial P(n) it is IndependentLabels. The largest count K is that of the count model: sets of
    more labels have probability 0. Everything is exact and costs O(L·K) time and memory per row, in float64
    inside, because logs of sums over sets have hundreds of nats that would push the digits out of float32.

    Args:
        weight_logits_BL: log w.
        count: the count model; it must have a distribution.

    Source: Chen, Dempster & Liu (1994), "Weighted finite population sampling to maximize entropy", for
        P(y | n); the count model on top is ours.
    """

    weight_logits_BL: Tensor
    count: CountModel

    def score_logits(self) -> Tensor:
        """The log-odds of the marginals."""
        with_BL, without_BL = self._split_mass()
        tiny = torch.finfo(with_BL.dtype).tiny
        return (with_BL.clamp(min=tiny).log() - without_BL.clamp(min=tiny).log()).to(self._dtype)

    def scores(self) -> Tensor:
        """The marginals."""
        return self.marginals()

    def marginals(self) -> Tensor:
        """Σ_n P(n) ∂ log e_n / ∂ log w."""
        with_BL, without_BL = self._split_mass()
        return (with_BL / (with_BL + without_BL)).to(self._dtype)

    def marginals_by_count(self) -> Tensor:
        """B×L×(K+1) probabilities P(y_l = 1, Σy = s | x), s = 0..K; no gradient. O(L·K·log L) per row."""
        with torch.no_grad():
            log_w_BL, log_p_BK = self._log_weights(), self._log_count()
            factors_BL2 = torch.stack((torch.zeros_like(log_w_BL), log_w_BL), dim=2)
            one = log_w_BL.new_tensor([0.0, -torch.inf])
            width = log_p_BK.shape[1] - 1
            others_BLK = products_without_each(factors_BL2, width, one=one, times=multiply_logs)
            log_e_BK = log_elementary_symmetric(log_w_BL, width)
            given_BK = (log_p_BK - log_e_BK)[:, None, 1:]
            joint_BLK = (log_w_BL[:, :, None] + others_BLK + given_BK).exp()
        return F.pad(joint_BLK, (1, 0)).to(self._dtype)

    def cardinality(self) -> Tensor:
        """The count model's distribution."""
        return self.count.pmf(self.weight_logits_BL.shape[1])

    def expected_count(self) -> Tensor:
        """Σ_n n P(n)."""
        pmf_BK = self.cardinality()
        return pmf_BK @ torch.arange(pmf_BK.shape[1], device=pmf_BK.device, dtype=pmf_BK.dtype)

    def log_prob(self, y_BL: Tensor) -> Tensor:
        """log P(n) + Σ_l y_l log w_l - log e_n(w); -inf where n > K.

        With s known labels true, the unknown labels U are summed out by how many of them are true:
        Σ_m P(s + m) e_m(w_U) / e_{s+m}(w) times the weights of the known true labels. The second set of
        polynomials doubles the cost, so they are computed only where a label is unknown.
        """
        y_BL, known_BL = split_unknown(y_BL)
        log_w_BL, log_p_BK = self._log_weights(), self._log_count()
        max_count = log_p_BK.shape[1] - 1
        log_given_BK = log_p_BK - log_elementary_symmetric(log_w_BL, max_count)
        n_B1 = y_BL.sum(1, keepdim=True).long()
        if bool(known_BL.all()):
            log_given_B = log_given_BK.gather(1, n_B1.clamp(max=max_count)).squeeze(1)
            log_given_B = torch.where(n_B1.squeeze(1) <= max_count, log_given_B, -torch.inf)
        else:
            log_given_B = _sum_out_unknown(log_given_BK, n_B1, log_w_BL, ~known_BL)
        log_prob_B = log_given_B + (log_w_BL * y_BL).sum(1)
        return torch.where(log_given_B.isneginf(), -torch.inf, log_prob_B).to(self._dtype)

    def mode(self) -> Tensor:
        """The n largest weights, for the n that makes them most probable; of equal weights the first."""
        log_w_BL, log_p_BK = self._log_weights(), self._log_count()
        sorted_BL, order_BL = log_w_BL.sort(dim=1, descending=True, stable=True)
        max_count = log_p_BK.shape[1] - 1
        top_sum_BK = F.pad(sorted_BL[:, :max_count].cumsum(1), (1, 0))
        log_e_BK = log_elementary_symmetric(log_w_BL, max_count)
        n_B1 = (log_p_BK + top_sum_BK - log_e_BK).argmax(1, keepdim=True)
        taken_BL = torch.arange(log_w_BL.shape[1], device=log_w_BL.device) < n_B1
        return torch.zeros_like(taken_BL).scatter(1, order_BL, taken_BL)

    @property
    def _dtype(self) -> torch.dtype:
        return self.weight_logits_BL.dtype

    def _log_weights(self) -> Tensor:
        return self.weight_logits_BL.double()

    def _log_count(self) -> Tensor:
        return self.count.log_pmf(self.weight_logits_BL.shape[1]).double()

    def _split_mass(self) -> tuple[Tensor, Tensor]:
        """P(y_l = 1) and P(y_l = 0), each a sum of its own, so that neither loses digits near 0."""
        log_w_BL, p_BK = self._log_weights(), self._log_count().exp()
        return split_by_inclusion(prefix_log_sums(log_w_BL, p_BK.shape[1] - 1), log_w_BL, p_BK)


def _sum_out_unknown(log_given_BK: Tensor, n_B1: Tensor, log_w_BL: Tensor, unknown_BL: Tensor) -> Tensor:
    """B values log Σ_m P(n + m) / e_{n+m}(w) · e_m(w_U), over m = 0, 1, ... true labels among the unknown.

    Args:
        log_given_BK: log P(k) - log e_k(w), k = 0..K.
        n_B1: number of known labels that are true.
        log_w_BL: log weights.
        unknown_BL: booleans, the set U.
    """
    max_count = log_given_BK.shape[1] - 1
    m_K = torch.arange(max_count + 1, device=log_w_BL.device)
    log_e_BK = log_elementary_symmetric(torch.where(unknown_BL, log_w_BL, LOG_ZERO), max_count)
    log_terms_BK = log_given_BK.gather(1, (n_B1 + m_K).clamp(max=max_count)) + log_e_BK
    possible_BK = (n_B1 + m_K <= max_count) & (m_K <= unknown_BL.sum(1, keepdim=True))
    return log_sum_where(possible_BK, log_terms_BK)
