"""Likelihoods of the number of labels.

Constants stay in, so that count models can be compared.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from mlc.outputs.counts import CategoricalCount, NegativeBinomialCount

_SMALL = -30.0  # below, log(1 + e^x) is e^x to every digit of float64


def poisson_nll(log_rate_B: Tensor, n_B: Tensor) -> Tensor:
    """B Poisson negative log-likelihoods λ - n log λ + log n! in nats."""
    return log_rate_B.exp() - n_B * log_rate_B + torch.lgamma(n_B + 1)


def negative_binomial_nll(count: NegativeBinomialCount, n_B: Tensor, *, max_count: int) -> Tensor:
    """B negative binomial negative log-likelihoods in nats.

    -log[Γ(n+r) / (Γ(r) n!) · (r / (r+μ))^r · (μ / (r+μ))^n]; for large r it is the Poisson one, to float32's
    digits.

    Args:
        count: μ and r.
        n_B: the numbers of labels.
        max_count: at least the largest of them.
    """
    log_weight_B = count.log_weights(max_count).gather(1, n_B.long()[:, None]).squeeze(1)
    log_ratio_B = count.log_mean_B - count.log_size_B
    # r log(1 + μ/r) through its logarithm: r alone may overflow, and μ/r vanish.
    log_softplus_B = F.softplus(log_ratio_B.clamp(min=_SMALL)).log() + (log_ratio_B - _SMALL).clamp(max=0)
    return (count.log_size_B + log_softplus_B).exp() - log_weight_B


def categorical_map(count: CategoricalCount, n_B: Tensor, *, prior_K: Tensor, prior_weight: float) -> Tensor:
    """B values of -log π_n - λ Σ_k a_k log π_k in nats: the posterior mode under Dirichlet(1 + λa).

    A count above K, which no training row has, is impossible: it has no likelihood term.

    Args:
        count: π over 0..K.
        n_B: the numbers of labels.
        prior_K: a, K+1 proportions.
        prior_weight: λ, how many observations the prior is worth beside each row's one.
    """
    log_p_BK = torch.log_softmax(count.logits_BK, dim=1)
    max_count = log_p_BK.shape[1] - 1
    log_p_B = log_p_BK.gather(1, n_B.long().clamp(max=max_count)[:, None]).squeeze(1)
    return -torch.where(n_B <= max_count, log_p_B, 0) - prior_weight * (log_p_BK @ prior_K)
