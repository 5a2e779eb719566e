"""What an entry of the validation data counts: its row's weight, or nothing where the target is unknown."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from mlc.batch import split_unknown

MIN_EXAMPLES = 10  # positives, and negatives, that a label needs on validation data to be fitted alone


class Cells(NamedTuple):
    """What one calibration per label is fitted on.

    Args:
        s_NL: score logits.
        y_NL: targets, 0 or 1.
        weight_NL: how many examples each cell counts for, 0 where the target is unknown; None if all are 1.
    """

    s_NL: Tensor
    y_NL: Tensor
    weight_NL: Tensor | None

    def of_labels(self, labels: slice | Tensor) -> "Cells":
        """The columns of some labels."""
        weight_NL = None if self.weight_NL is None else self.weight_NL[:, labels]
        return Cells(self.s_NL[:, labels], self.y_NL[:, labels], weight_NL)

    def blocks(self, *, cells: int) -> Iterator["Cells"]:
        """Blocks of labels with at most so many cells each, in float64; a copy of one block at a time."""
        step = max(1, cells // len(self.y_NL))
        for low in range(0, self.y_NL.shape[1], step):
            s_NL, y_NL, weight_NL = self.of_labels(slice(low, low + step))
            yield Cells(s_NL.double(), y_NL.double(), None if weight_NL is None else weight_NL.double())


def cell_weights(y_NL: Tensor, weight_N: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Targets without NaN, and the N×L weights of their cells: 0 where unknown, the row's weight elsewhere.

    The weights are None where all are 1, so that the common case costs nothing.
    """
    filled_NL, known_NL = split_unknown(y_NL)
    if weight_N is not None and bool((weight_N == 1).all()):
        weight_N = None
    if weight_N is None:
        return filled_NL, None if bool(known_NL.all()) else known_NL.to(y_NL.dtype)
    return filled_NL, known_NL * weight_N.to(y_NL)[:, None]


def sizes(values_NL: Tensor, weight_NL: Tensor | None) -> Tensor:
    """L float64 sums of the weights: how many examples each label has."""
    if weight_NL is None:
        return torch.full((values_NL.shape[1],), float(len(values_NL)), dtype=torch.float64).to(
            values_NL.device
        )
    return weight_NL.sum(0, dtype=torch.float64)


def counts(y_NL: Tensor, weight_NL: Tensor | None) -> tuple[Tensor, Tensor]:
    """L float64 positives and negatives of each label, in effective examples; targets are 0 or 1."""
    weighted_NL = y_NL if weight_NL is None else y_NL * weight_NL
    positives_L = weighted_NL.sum(0, dtype=torch.float64)
    return positives_L, sizes(y_NL, weight_NL) - positives_L


def is_rare(y_NL: Tensor, weight_NL: Tensor | None) -> Tensor:
    """L booleans: the label has too few positives or negatives to be fitted alone."""
    return torch.minimum(*counts(y_NL, weight_NL)) < MIN_EXAMPLES


def means(values_NL: Tensor, weight_NL: Tensor | None) -> Tensor:
    """L weighted means; 0 for a label without examples."""
    if weight_NL is None:
        return values_NL.mean(0)
    size_L = weight_NL.sum(0)
    return (values_NL * weight_NL).sum(0) / torch.where(size_L > 0, size_L, 1)


def standardised(s_NL: Tensor, weight_NL: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Columns of mean 0 and standard deviation 1, the means, and the standard deviations.

    A column that does not vary is only centred: its standard deviation, of rounding errors, counts as 1.
    Entries that do not count are 0.
    """
    centre_L = means(s_NL, weight_NL)
    if weight_NL is None:
        varies_L = s_NL.amax(0) > s_NL.amin(0)
        deviation_L = torch.where(varies_L, s_NL.std(0, correction=0), 1)
        return (s_NL - centre_L) / deviation_L, centre_L, deviation_L
    counts_NL = weight_NL > 0
    highest_L = s_NL.where(counts_NL, -torch.inf).amax(0)
    varies_L = highest_L > s_NL.where(counts_NL, torch.inf).amin(0)
    centred_NL = torch.where(counts_NL, s_NL - centre_L, 0)
    deviation_L = torch.where(varies_L, means(centred_NL.square(), weight_NL).sqrt(), 1)
    return centred_NL / deviation_L, centre_L, deviation_L


def platt_targets(y_NL: Tensor, weight_NL: Tensor | None = None) -> Tensor:
    """N×L targets (N₊ + 1) / (N₊ + 2) where y = 1 and 1 / (N₋ + 2) where y = 0; N₊, N₋ effective counts."""
    positives_L, negatives_L = (count_L.to(y_NL.dtype) for count_L in counts(y_NL, weight_NL))
    return torch.where(y_NL == 1, (positives_L + 1) / (positives_L + 2), 1 / (negatives_L + 2))


def log_odds_of_mean(t_NL: Tensor, weight_NL: Tensor | None = None) -> Tensor:
    """L log-odds of the mean target, where a fit may start; 0 for a label without examples."""
    mean_L = means(t_NL, weight_NL)
    if weight_NL is not None:
        mean_L = torch.where(weight_NL.sum(0) > 0, mean_L, 0.5)
    return mean_L.logit()
