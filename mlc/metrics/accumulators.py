"""torchmetrics states for what the pure functions return, so that batches and processes merge.

torchmetrics takes a second to import: only the first evaluation imports this module.
"""

from abc import abstractmethod
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor
from torchmetrics import Metric

from mlc.metrics.average_precision import AveragePrecision, average_precision
from mlc.metrics.score_histogram import BINS, add_to_histograms, histogram_average_precision

R = TypeVar("R")
S = TypeVar("S", bound=NamedTuple)


class Accumulator(Metric, Generic[R]):
    """A torchmetrics.Metric whose result keeps its shapes: `compute` squeezes tensors of one element."""

    full_state_update = False

    @abstractmethod
    def compute(self) -> R:
        """The result of the states as they are."""

    def merged(self) -> R:
        """The result of all batches of all processes, each of which must call this."""
        with self.sync_context():
            # The method of the class, because torchmetrics wraps that of the instance.
            return type(self).compute(self)


class SumAccumulator(Accumulator[S]):
    """Adds up what batches return, field by field.

    Args:
        zero: the sums of no rows.
    """

    def __init__(self, zero: S) -> None:
        super().__init__()
        self._sums = type(zero)
        for name, value in zip(zero._fields, zero, strict=True):
            self.add_state(name, value, dist_reduce_fx="sum")

    def update(self, sums: S) -> None:
        """Add the sums of a batch."""
        for name, value in zip(sums._fields, sums, strict=True):
            setattr(self, name, getattr(self, name) + value)

    def compute(self) -> S:
        """The sums, on the CPU."""
        return self._sums(*(getattr(self, name).cpu() for name in self._sums._fields))


class ExactAveragePrecision(Accumulator[AveragePrecision]):
    """Keeps the scores (float32) and targets (1 byte) of all rows on the CPU, as they come.

    Args:
        n_labels: number of labels L.
    """

    scores: list[Tensor]
    y: list[Tensor]

    def __init__(self, *, n_labels: int) -> None:
        super().__init__()
        self._n_labels = n_labels
        self.add_state("scores", [], dist_reduce_fx="cat")
        self.add_state("y", [], dist_reduce_fx="cat")

    def update(self, scores_BL: Tensor, y_BL: Tensor) -> None:
        """Keep a batch."""
        self.scores.append(scores_BL.detach().float().cpu())
        self.y.append(y_BL.bool().cpu())

    def merged(self) -> AveragePrecision:
        """The result of all batches of all processes, each of which must call this."""
        if not self.scores:
            # The other processes can join a part without rows, but not a missing one.
            self.update(torch.zeros(0, self._n_labels), torch.zeros(0, self._n_labels))
        return super().merged()

    def compute(self) -> AveragePrecision:
        """Average precision of the rows that were kept."""
        return average_precision(_parts(self.scores), _parts(self.y))


class HistogramAveragePrecision(Accumulator[AveragePrecision]):
    """Keeps two histograms of BINS counts per label.

    Args:
        n_labels: number of labels L.
    """

    all_KL: Tensor
    positive_KL: Tensor

    def __init__(self, *, n_labels: int) -> None:
        super().__init__()
        for name in ("all_KL", "positive_KL"):
            zero_KL = torch.zeros(BINS, n_labels, dtype=torch.int32)
            self.add_state(name, zero_KL, dist_reduce_fx="sum")

    def update(self, scores_BL: Tensor, y_BL: Tensor) -> None:
        """Count a batch."""
        add_to_histograms(self.all_KL, self.positive_KL, scores_BL, y_BL)

    def compute(self) -> AveragePrecision:
        """Average precision of the rows that were counted, with its bound."""
        return histogram_average_precision(self.all_KL.cpu(), self.positive_KL.cpu())


def _parts(state: list[Tensor] | Tensor) -> list[Tensor]:
    # torchmetrics joins a list into one tensor when it merges processes.
    return [state] if isinstance(state, Tensor) else state
