"""Sums of what the pure functions return, batch after batch, that merge across batches and processes.

Batches with and without weights may be mixed: a batch without counts 1 for each row.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Generic, NamedTuple, Self, TypeVar, cast

import torch
from torch import Tensor

from mlc.metrics import merging
from mlc.metrics.average_precision import (
    AveragePrecision,
    average_precision,
    concatenated,
    joined_labels,
    label_blocks,
    labels_average_precision,
)
from mlc.metrics.score_histogram import add_to_histograms, empty_histograms, histogram_average_precision

R = TypeVar("R")
S = TypeVar("S", bound=NamedTuple)
_LABELS_AT_A_TIME = 256  # histograms that the processes add up at a time: 4 MB


class Accumulator(ABC, Generic[R]):
    """What batches have added up to so far."""

    @abstractmethod
    def reset(self) -> None:
        """Forget all batches."""

    @abstractmethod
    def merge(self, other: Self) -> None:
        """Add the batches of another accumulator, which stays as it is."""

    @abstractmethod
    def compute(self) -> R:
        """The result of these batches, on the CPU."""

    @abstractmethod
    def merged(self) -> R:
        """The result of all batches of all processes, each of which must call this."""


class SumAccumulator(Accumulator[S]):
    """Adds up what batches return, field by field; fields that are int64 stay so unless rows have weights.

    The sums stay on the device of the batches: nothing waits for it before the result is asked for.

    Args:
        zero: makes the sums of no rows; called only where there are none, or several processes.
    """

    def __init__(self, zero: Callable[[], S]) -> None:
        self._zero = zero
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        self._sums: S | None = None

    def update(self, sums: S) -> None:
        """Add the sums of a batch."""
        if self._sums is not None:
            # Counts and sums of weights have a float64 sum, in which counts stay exact up to 2^53.
            sums = self._like(sums, (mine + more for mine, more in zip(self._sums, sums, strict=True)))
        self._sums = sums

    def merge(self, other: Self) -> None:
        """Add the sums of another accumulator."""
        if other._sums is not None:
            self.update(other._sums)

    def compute(self) -> S:
        """The sums, on the CPU."""
        sums = self._zero() if self._sums is None else self._sums
        return self._like(sums, (value.cpu() for value in sums))

    def merged(self) -> S:
        """The sums over all processes, which exchange them as one tensor."""
        if not merging.several():
            return self.compute()
        zero, sums = self._zero(), self.compute()
        weighted = any(value.dtype != none.dtype for value, none in zip(sums, zero, strict=True))
        flag = torch.tensor([float(weighted)], dtype=torch.float64)
        flat = merging.summed(torch.cat([flag, *(value.double().flatten() for value in sums)]))
        parts = flat[1:].split([value.numel() for value in sums])
        values = [part.view(none.shape) for part, none in zip(parts, zero, strict=True)]
        if flat[0] == 0:
            values = [value.to(none.dtype) for value, none in zip(values, zero, strict=True)]
        return self._like(zero, values)

    @staticmethod
    def _like(sums: S, values: Iterable[Tensor]) -> S:
        return cast(S, type(sums)(*values))  # type: ignore[call-overload]


class ExactAveragePrecision(Accumulator[AveragePrecision]):
    """Keeps scores (float32), targets (1 byte) and the weights of the rows on the CPU, as they come.

    float32 scores on the CPU are kept without a copy: they must not be changed afterwards.

    Args:
        n_labels: number of labels L.
    """

    def __init__(self, *, n_labels: int) -> None:
        self._n_labels = n_labels
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        # No rows have the shapes of any rows: other processes can join them.
        self.scores = [torch.zeros(0, self._n_labels)]
        self.y = [torch.zeros(0, self._n_labels, dtype=torch.int8)]
        self.weight = [torch.zeros(0, dtype=torch.float64)]
        self.weighted = False

    def update(self, scores_BL: Tensor, y_BL: Tensor, weight_B: Tensor | None = None) -> None:
        """Keep a batch."""
        self.scores.append(scores_BL.detach().float().cpu())
        # A byte has no NaN.
        y_BL = y_BL if y_BL.dtype == torch.bool else y_BL.nan_to_num(nan=-1.0)
        self.y.append(y_BL.to(torch.int8).cpu())
        if weight_B is None:
            self.weight.append(torch.ones(len(y_BL), dtype=torch.float64))
        else:
            self.weight.append(weight_B.double().cpu())
            self.weighted = True

    def merge(self, other: Self) -> None:
        """Keep the batches of another accumulator as well."""
        self.scores += other.scores
        self.y += other.y
        self.weight += other.weight
        self.weighted |= other.weighted

    def compute(self) -> AveragePrecision:
        """Average precision of the rows that were kept."""
        weight_N = torch.cat(self.weight) if self.weighted else None
        return average_precision(self.scores, self.y, weight_N)

    def merged(self) -> AveragePrecision:
        """The same over all processes; a few labels at a time, so none holds the rows of all of them."""
        if not merging.several():
            return self.compute()
        every_weight_N = merging.all_rows(torch.cat(self.weight))
        weight_N = every_weight_N if merging.largest(torch.tensor(int(self.weighted))) else None
        blocks = []
        for labels in label_blocks(len(every_weight_N), self._n_labels):
            scores_NL = merging.all_rows(joined_labels(self.scores, labels))
            y_NL = merging.all_rows(joined_labels(self.y, labels))
            blocks.append(labels_average_precision(scores_NL, y_NL, weight_N))
        return concatenated(blocks)


class HistogramAveragePrecision(Accumulator[AveragePrecision]):
    """Keeps two histograms of BINS counts per label: int32, and float64 once a batch has weights.

    Args:
        n_labels: number of labels L.
        device: where the batches are.
    """

    def __init__(self, *, n_labels: int, device: str = "cpu") -> None:
        self._n_labels, self._device = n_labels, device
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        self.histograms_L2K = empty_histograms(self._n_labels, device=self._device)
        self.smallest_weight = torch.ones((), dtype=torch.float64, device=self._device)

    def update(self, scores_BL: Tensor, y_BL: Tensor, weight_B: Tensor | None = None) -> None:
        """Count a batch."""
        if weight_B is not None:
            self.histograms_L2K = self.histograms_L2K.double()
            positive_B = weight_B.double().masked_fill(weight_B <= 0, 1.0)
            self.smallest_weight = torch.cat([self.smallest_weight[None], positive_B]).min()
        add_to_histograms(self.histograms_L2K, scores_BL, y_BL, weight_B)

    def merge(self, other: Self) -> None:
        """Add the counts of another accumulator."""
        self.histograms_L2K = self.histograms_L2K + other.histograms_L2K
        self.smallest_weight = torch.minimum(self.smallest_weight, other.smallest_weight)

    def compute(self) -> AveragePrecision:
        """Average precision of the rows that were counted, with its bound."""
        found = histogram_average_precision(self.histograms_L2K, float(self.smallest_weight))
        return AveragePrecision(*(values.cpu() for values in found))

    def merged(self) -> AveragePrecision:
        """The same over all processes; a few labels at a time, so there is no second copy of the counts."""
        if not merging.several():
            return self.compute()
        # Processes can only add histograms of one type.
        weighted = bool(merging.largest(torch.tensor(int(self.histograms_L2K.is_floating_point()))))
        unit = float(merging.smallest(self.smallest_weight))
        dtype = torch.float64 if weighted else torch.int32
        blocks = (merging.summed(part.to(dtype)) for part in self.histograms_L2K.split(_LABELS_AT_A_TIME))
        return concatenated(histogram_average_precision(block, unit) for block in blocks)
