"""Medians and their intervals, without an assumption about how times are spread."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from statistics import median

_COVERAGE = 0.95


@dataclass(frozen=True)
class Spread:
    """A median, and the interval that covers the true one 95 times in 100; if they are few, all values."""

    median: float
    low: float
    high: float
    values: tuple[float, ...]

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}-{self.high:.2f})"


def spread(values: Sequence[float]) -> Spread:
    """The median, and two order statistics around it: the r-th smallest and the r-th largest value.

    Each value lies below the true median with probability 1/2, so the chance that it is outside of the two is
    2 P(Binomial(n, 1/2) < r).
    """
    ordered, n = sorted(values), len(values)
    rank = 1
    while rank < n // 2 and 2 * sum(comb(n, i) for i in range(rank + 1)) / 2**n <= 1 - _COVERAGE:
        rank += 1
    return Spread(median(ordered), ordered[rank - 1], ordered[-rank], tuple(values))
