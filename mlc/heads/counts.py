"""How heads that count read a linear layer's numbers as a count model, and where that layer starts."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlc.batch import LabelStatistics
from mlc.outputs.counts import CategoricalCount, CountModel, NegativeBinomialCount, PointCount, PoissonCount

CountKind = Literal["linear", "poisson", "negative_binomial", "categorical"]
LARGEST_FIRST_SIZE = 100.0  # r of a negative binomial whose training counts vary no more than Poisson's


@dataclass(frozen=True)
class CountReading:
    """A reading of K raw numbers per example as a count model.

    Args:
        start_K: the raw numbers that say what the training counts say.
        read: from B×K raw numbers to the count model.
    """

    start_K: Tensor
    read: Callable[[Tensor], CountModel]

    def layer(self, in_features: int) -> nn.Linear:
        """A linear layer of these raw numbers, whose bias is the start."""
        layer = nn.Linear(in_features, len(self.start_K))
        with torch.no_grad():
            layer.bias.copy_(self.start_K)
        return layer


def count_reading(kind: CountKind, *, labels: LabelStatistics, floor: float, max_count: int) -> CountReading:
    """The reading of a kind of count.

    Args:
        kind: "linear" for the point max(floor, raw); "poisson" for log λ = raw; "negative_binomial" for
            raw = (log μ, log r); "categorical" for the logits of n = 0..max_count.
        labels: training label statistics.
        floor: the smallest mean to start at, and the smallest point.
        max_count: K of the categorical count, at least the largest count in training.
    """
    mean = torch.tensor([max(labels.mean_count, floor)])
    match kind:
        case "linear":
            return CountReading(mean, partial(_read_point, floor=floor))
        case "poisson":
            return CountReading(mean.log(), _read_poisson)
        case "negative_binomial":
            size = torch.tensor([_size_by_moments(labels)])
            return CountReading(torch.cat((mean, size)).log(), _read_negative_binomial)
        case "categorical":
            return CountReading(_log_frequencies(labels, max_count), CategoricalCount)


def _read_point(raw_BK: Tensor, *, floor: float) -> PointCount:
    return PointCount(raw_BK.squeeze(1).clamp(min=floor))


def _read_poisson(raw_BK: Tensor) -> PoissonCount:
    return PoissonCount(raw_BK.squeeze(1))


def _read_negative_binomial(raw_BK: Tensor) -> NegativeBinomialCount:
    return NegativeBinomialCount(*raw_BK.unbind(1))


def _size_by_moments(labels: LabelStatistics) -> float:
    """r from variance = μ + μ²/r of the training counts, at most LARGEST_FIRST_SIZE."""
    rows = labels.count_histogram_K.sum().item()  # those without unknown labels: perhaps none
    if not rows:
        return LARGEST_FIRST_SIZE
    counts_K = torch.arange(labels.max_count + 1, dtype=torch.float64)
    p_K = labels.count_histogram_K.cpu() / rows
    mean = float(counts_K @ p_K)
    excess = float((counts_K - mean).square() @ p_K) - mean
    return mean**2 / max(excess, mean**2 / LARGEST_FIRST_SIZE) if mean else LARGEST_FIRST_SIZE


def _log_frequencies(labels: LabelStatistics, max_count: int) -> Tensor:
    """Logits of the training counts, smoothed by half a row, centred so that they stay small."""
    log_K = (F.pad(labels.count_histogram_K, (0, max_count - labels.max_count)) + 0.5).log()
    return (log_K - log_K.mean()).float()
