"""Count models: how many labels an example has."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mlc.outputs.base import NotDefinedError, TensorStruct, register_pytree


class CountModel(TensorStruct, ABC):
    """A batch of predictions of n = Σy."""

    @abstractmethod
    def mean(self) -> Tensor:
        """B expected numbers of labels, > 0."""

    @abstractmethod
    def log_mean(self) -> Tensor:
        """B logarithms of the mean, finite where the mean itself is beyond float32."""

    @abstractmethod
    def log_pmf(self, n_labels: int) -> Tensor:
        """B×(K+1) log probabilities of n = 0..K, renormalised; K <= L is the largest possible count."""

    def pmf(self, n_labels: int) -> Tensor:
        """B×(L+1) probabilities of n = 0..L, renormalised on that range."""
        pmf_BK = self.log_pmf(n_labels).exp()
        return F.pad(pmf_BK, (0, n_labels + 1 - pmf_BK.shape[1]))


@register_pytree
@dataclass(frozen=True, eq=False)
class PointCount(CountModel):
    """A number, and no distribution.

    Args:
        value_B: the predicted count, already kept above its floor.
    """

    value_B: Tensor

    def mean(self) -> Tensor:
        """The number itself."""
        return self.value_B

    def log_mean(self) -> Tensor:
        """Its logarithm."""
        return self.value_B.log()

    def log_pmf(self, n_labels: int) -> Tensor:
        """Not defined."""
        raise NotDefinedError(
            "PointCount has no distribution: use a head with a count distribution (head=factorised_poisson)"
        )


@register_pytree
@dataclass(frozen=True, eq=False)
class PoissonCount(CountModel):
    """n ~ Poisson(λ).

    Args:
        log_rate_B: log λ.
    """

    log_rate_B: Tensor

    def mean(self) -> Tensor:
        """λ, the mean before the range is cut at L."""
        return self.log_rate_B.exp()

    def log_mean(self) -> Tensor:
        """log λ."""
        return self.log_rate_B

    def log_pmf(self, n_labels: int) -> Tensor:
        """Poisson log probabilities renormalised on 0..L."""
        n_K = _counts_to(n_labels, like=self.log_rate_B)
        # The term -λ is the same for every n and cancels in the renormalisation.
        return torch.log_softmax(n_K * self.log_rate_B[:, None] - torch.lgamma(n_K + 1), dim=1)


@register_pytree
@dataclass(frozen=True, eq=False)
class NegativeBinomialCount(CountModel):
    """n ~ NegativeBinomial(μ, r): a Poisson whose rate is Gamma distributed, with variance μ + μ²/r.

    Args:
        log_mean_B: log μ.
        log_size_B: log r; large for a count that is nearly Poisson.
    """

    log_mean_B: Tensor
    log_size_B: Tensor

    def mean(self) -> Tensor:
        """μ, the mean before the range is cut at L."""
        return self.log_mean_B.exp()

    def log_mean(self) -> Tensor:
        """log μ."""
        return self.log_mean_B

    def log_weights(self, n_labels: int) -> Tensor:
        """B×(L+1) log probabilities of n = 0..L less that of n = 0, log[Γ(n+r) / (Γ(r) n!) · (μ / (r+μ))^n].

        Γ(n+r) / (Γ(r) r^n) is the product of 1 + j/r over j < n: lgamma would cancel for large r.
        """
        n_K = _counts_to(n_labels, like=self.log_mean_B)
        log_ratio_B = self.log_mean_B - self.log_size_B
        log_rising_BK = F.softplus(n_K[:-1].log() - self.log_size_B[:, None]).cumsum(1)
        log_base_B1 = (self.log_mean_B - F.softplus(log_ratio_B))[:, None]
        return n_K * log_base_B1 + F.pad(log_rising_BK, (1, 0)) - torch.lgamma(n_K + 1)

    def log_pmf(self, n_labels: int) -> Tensor:
        """Negative binomial log probabilities renormalised on 0..L."""
        return torch.log_softmax(self.log_weights(n_labels), dim=1)


@register_pytree
@dataclass(frozen=True, eq=False)
class CategoricalCount(CountModel):
    """P(n) = softmax(z)_n for n = 0..K: any distribution, and no count above K.

    Args:
        logits_BK: z, with K + 1 columns; 1 <= K <= L.
    """

    logits_BK: Tensor

    def mean(self) -> Tensor:
        """Σ_k k P(k)."""
        return self.log_mean().exp()

    def log_mean(self) -> Tensor:
        """log Σ_k k P(k)."""
        log_p_BK = torch.log_softmax(self.logits_BK, dim=1)
        k_K = _counts_to(log_p_BK.shape[1] - 1, like=log_p_BK)
        return torch.logsumexp(log_p_BK[:, 1:] + k_K[1:].log(), dim=1)

    def log_pmf(self, n_labels: int) -> Tensor:
        """log softmax(z)."""
        return torch.log_softmax(self.logits_BK, dim=1)


def _counts_to(largest: int, *, like: Tensor) -> Tensor:
    """The numbers 0..largest, on the device and in the type of a tensor."""
    return torch.arange(largest + 1, device=like.device, dtype=like.dtype)
