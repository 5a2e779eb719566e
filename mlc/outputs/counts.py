"""Count models: how many labels an example has."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

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
    def pmf(self, n_labels: int) -> Tensor:
        """B×(L+1) probabilities of n = 0..L, renormalised on that range."""


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

    def pmf(self, n_labels: int) -> Tensor:
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

    def pmf(self, n_labels: int) -> Tensor:
        """Poisson probabilities renormalised on 0..L."""
        n_K = torch.arange(n_labels + 1, device=self.log_rate_B.device, dtype=self.log_rate_B.dtype)
        # The term -λ is the same for every n and cancels in the renormalisation.
        return torch.softmax(n_K * self.log_rate_B[:, None] - torch.lgamma(n_K + 1), dim=1)
