"""torchmetrics states for what the pure functions return, so that batches and processes merge.

Batches with and without weights may be mixed: a batch without counts 1 for each row.

torchmetrics takes a second to import: only the first evaluation imports this module.
"""

from abc import abstractmethod
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.distributed import gather_all_tensors

from mlc.metrics.average_precision import AveragePrecision, average_precision
from mlc.metrics.score_histogram import BINS, add_to_histograms, histogram_average_precision

R = TypeVar("R")
S = TypeVar("S", bound=NamedTuple)


class Accumulator(Metric, Generic[R]):
    """A torchmetrics.Metric whose result keeps its shapes: `compute` squeezes tensors of one element."""

    full_state_update = False
    # 1 if any batch, of any process once they are merged, had weights.
    weighted: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("weighted", torch.zeros((), dtype=torch.int64), dist_reduce_fx="max")

    @abstractmethod
    def compute(self) -> R:
        """The result of the states as they are."""

    def merged(self) -> R:
        """The result of all batches of all processes, each of which must call this."""
        with self.sync_context():
            # The method of the class, because torchmetrics wraps that of the instance.
            return type(self).compute(self)


class SumAccumulator(Accumulator[S]):
    """Adds up what batches return, field by field; fields that are int64 stay so unless rows have weights.

    Args:
        zero: the sums of no rows.
    """

    def __init__(self, zero: S) -> None:
        super().__init__()
        self._sums = type(zero)
        self._types = [value.dtype for value in zero]
        for name, value in zip(zero._fields, zero, strict=True):
            # One type for all processes, also for one without rows; counts stay exact up to 2^53.
            self.add_state(name, value.double(), dist_reduce_fx="sum")

    def update(self, sums: S) -> None:
        """Add the sums of a batch."""
        if [value.dtype for value in sums] != self._types:
            self.weighted = torch.ones_like(self.weighted)
        for name, value in zip(sums._fields, sums, strict=True):
            setattr(self, name, getattr(self, name) + value)

    def compute(self) -> S:
        """The sums, on the CPU."""
        values = [getattr(self, name).cpu() for name in self._sums._fields]
        if not self.weighted:
            values = [value.to(dtype) for value, dtype in zip(values, self._types, strict=True)]
        return self._sums(*values)


class ExactAveragePrecision(Accumulator[AveragePrecision]):
    """Keeps scores (float32), targets (1 byte) and the weights of the rows on the CPU, as they come.

    Args:
        n_labels: number of labels L.
    """

    scores: list[Tensor]
    y: list[Tensor]
    weight: list[Tensor]

    def __init__(self, *, n_labels: int) -> None:
        super().__init__()
        self._n_labels = n_labels
        self.add_state("scores", [], dist_reduce_fx="cat")
        self.add_state("y", [], dist_reduce_fx="cat")
        self.add_state("weight", [], dist_reduce_fx="cat")

    def update(self, scores_BL: Tensor, y_BL: Tensor, weight_B: Tensor | None = None) -> None:
        """Keep a batch."""
        self.scores.append(scores_BL.detach().float().cpu())
        # A byte has no NaN.
        self.y.append(y_BL.nan_to_num(nan=-1.0).to(torch.int8).cpu())
        if weight_B is None:
            self.weight.append(torch.ones(len(y_BL), dtype=torch.float64))
        else:
            self.weight.append(weight_B.double().cpu())
            self.weighted = torch.ones_like(self.weighted)

    def merged(self) -> AveragePrecision:
        """The result of all batches of all processes, each of which must call this."""
        if not self.scores:
            # The other processes can join a part without rows, but not a missing one.
            self.update(torch.zeros(0, self._n_labels), torch.zeros(0, self._n_labels))
        return super().merged()

    def compute(self) -> AveragePrecision:
        """Average precision of the rows that were kept."""
        weight_N = torch.cat(_parts(self.weight)) if self.weighted else None
        return average_precision(_parts(self.scores), _parts(self.y), weight_N)


class HistogramAveragePrecision(Accumulator[AveragePrecision]):
    """Keeps two histograms of BINS counts per label: int32, and float64 once a batch has weights.

    Args:
        n_labels: number of labels L.
    """

    all_KL: Tensor
    positive_KL: Tensor
    smallest_weight: Tensor

    def __init__(self, *, n_labels: int) -> None:
        super().__init__()
        for name in ("all_KL", "positive_KL"):
            zero_KL = torch.zeros(BINS, n_labels, dtype=torch.int32)
            self.add_state(name, zero_KL, dist_reduce_fx="sum")
        self.add_state("smallest_weight", torch.ones((), dtype=torch.float64), dist_reduce_fx="min")

    def update(self, scores_BL: Tensor, y_BL: Tensor, weight_B: Tensor | None = None) -> None:
        """Count a batch."""
        if weight_B is not None:
            self._weigh()
            positive = weight_B[weight_B > 0].double()
            self.smallest_weight = torch.cat([self.smallest_weight[None], positive]).min()
        add_to_histograms(self.all_KL, self.positive_KL, scores_BL, y_BL, weight_B)

    def merged(self) -> AveragePrecision:
        """The result of all batches of all processes, each of which must call this."""
        # The other processes cannot add float64 histograms to the int32 ones of a process without rows.
        if self.distributed_available_fn() and any(gather_all_tensors(self.weighted)):
            self._weigh()
        return super().merged()

    def compute(self) -> AveragePrecision:
        """Average precision of the rows that were counted, with its bound."""
        unit = float(self.smallest_weight)
        return histogram_average_precision(self.all_KL.cpu(), self.positive_KL.cpu(), unit)

    def _weigh(self) -> None:
        self.weighted = torch.ones_like(self.weighted)
        self.all_KL, self.positive_KL = self.all_KL.double(), self.positive_KL.double()


def _parts(state: list[Tensor] | Tensor) -> list[Tensor]:
    # torchmetrics joins a list into one tensor when it merges processes.
    return [state] if isinstance(state, Tensor) else state
