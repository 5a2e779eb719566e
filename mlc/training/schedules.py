"""Learning rates over time, as factors of optimizer.lr.

A factor depends on how many epochs have passed, out of how many, and on nothing else (plateau: and on the
metrics it has seen), so a resumed run needs no scheduler state to be exact. A raised max_epochs stretches a
cosine: the rate rises again where the run goes on.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Interval

_MOST_CUTS = 2**20  # whatever the factor, the rate is 0 long before


@dataclass(kw_only=True)
class Schedule(ABC):
    """A learning-rate factor, with a linear warm-up first.

    Args:
        warmup_epochs: epochs (may be a fraction) over which the factor rises from 0 to its value.
    """

    warmup_epochs: Annotated[float, Ge(0)]

    def factor(self, epochs_done: float, max_epochs: int) -> float:
        """The factor after `epochs_done` epochs (a fraction within an epoch)."""
        warm = min(1.0, epochs_done / self.warmup_epochs) if self.warmup_epochs else 1.0
        return warm * self._factor(epochs_done, max_epochs)

    @abstractmethod
    def _factor(self, epochs_done: float, max_epochs: int) -> float:
        """The factor without warm-up."""

    def observe(self, improved: bool) -> None:  # noqa: B027 - most schedules do not look at metrics
        """Called once per epoch with whether the monitored metric improved."""

    def state(self) -> dict[str, float]:
        """What a resumed run needs."""
        return {}

    def restore(self, state: dict[str, float]) -> None:  # noqa: B027
        """Take `state()` back."""


@dataclass(kw_only=True)
class Constant(Schedule):
    """The same rate throughout."""

    def _factor(self, epochs_done: float, max_epochs: int) -> float:
        return 1.0


@dataclass(kw_only=True)
class Cosine(Schedule):
    """Half a cosine from 1, at the end of the warm-up, to `final_factor` at max_epochs.

    Source: Loshchilov & Hutter, 2017, eq. 5, one cycle.
    """

    final_factor: Annotated[float, Interval(ge=0, le=1)]

    def _factor(self, epochs_done: float, max_epochs: int) -> float:
        length = max(max_epochs - self.warmup_epochs, 1e-9)
        done = min(max((epochs_done - self.warmup_epochs) / length, 0.0), 1.0)
        return self.final_factor + (1 - self.final_factor) * 0.5 * (1 + math.cos(math.pi * done))


@dataclass(kw_only=True)
class Step(Schedule):
    """Times `gamma` every `every_epochs` epochs."""

    every_epochs: Annotated[int, Gt(0)]
    gamma: Annotated[float, Interval(gt=0, lt=1)]

    def _factor(self, epochs_done: float, max_epochs: int) -> float:
        return float(self.gamma ** int(epochs_done // self.every_epochs))


@dataclass(kw_only=True)
class Plateau(Schedule):
    """Times `gamma` whenever the monitored metric has not improved for `patience` epochs."""

    patience: Annotated[int, Gt(0)]
    gamma: Annotated[float, Interval(gt=0, lt=1)]

    def __post_init__(self) -> None:
        self._cuts = 0
        self._bad_epochs = 0

    def _factor(self, epochs_done: float, max_epochs: int) -> float:
        return float(self.gamma**self._cuts)

    def observe(self, improved: bool) -> None:
        """Count epochs without improvement, and cut the rate when there are enough."""
        self._bad_epochs = 0 if improved else self._bad_epochs + 1
        if self._bad_epochs >= self.patience:
            self._cuts += 1
            self._bad_epochs = 0

    def state(self) -> dict[str, float]:
        """Cuts so far, and epochs since the last improvement."""
        return {"cuts": self._cuts, "bad_epochs": self._bad_epochs}

    def restore(self, state: dict[str, float]) -> None:
        """Take `state()` back.

        Raises:
            ValueError: it is not the state of such a schedule.
        """
        cuts, bad_epochs = state["cuts"], state["bad_epochs"]
        if not (type(cuts) is type(bad_epochs) is int and 0 <= cuts <= _MOST_CUTS):
            raise ValueError("the schedule did not cut the rate so often")
        if not 0 <= bad_epochs < self.patience:
            raise ValueError("the schedule did not wait so long")
        self._cuts, self._bad_epochs = cuts, bad_epochs
