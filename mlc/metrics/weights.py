"""How much rows and entries count: rows by their weights, unknown targets not at all.

A target is 0 or 1; what is above 1 (a level) counts as 1. It is unknown where it is NaN, or -1 in a type that
has no NaN.
"""

import torch
from torch import Tensor

from mlc.metrics.blocks import above


def known_entries(y_RC: Tensor) -> Tensor | None:
    """Booleans that say which targets are known; None where all are.

    Booleans are always known. On CUDA they are not looked at, which would wait for the device: the sums come
    out the same.
    """
    if y_RC.dtype == torch.bool:
        return None
    # The smallest is NaN where any is NaN; it costs a third of comparing each.
    if y_RC.is_cpu and (y_RC.numel() == 0 or bool(y_RC.amin() >= 0)):
        return None
    return above(y_RC, -0.5)


def entry_weights(y_BL: Tensor, weight_B: Tensor | None) -> Tensor | None:
    """What each entry counts: its row's weight (float64), 0 where unknown; None where all count 1."""
    known_BL = known_entries(y_BL)
    if weight_B is None:
        return None if known_BL is None else known_BL.double()
    weight_BL = weight_B.double()[:, None].expand(y_BL.shape)
    return weight_BL if known_BL is None else weight_BL * known_BL


def is_true(y_RC: Tensor) -> Tensor:
    """Booleans that say which targets are 1 (or above)."""
    return y_RC if y_RC.dtype == torch.bool else above(y_RC, 0)


def total(values: Tensor, weight: Tensor | None) -> Tensor:
    """The sum over the first dimension; with weights, in float64."""
    return values.sum(0) if weight is None else torch.tensordot(weight.double(), values.double(), dims=1)


def weighed(values: Tensor, weight: Tensor | None) -> Tensor:
    """The values in float64, times their weights where there are any."""
    return values.double() if weight is None else values * weight.double()


def grand_total(values: Tensor, weight: Tensor | None) -> Tensor:
    """The sum over everything, in float64."""
    return values.sum(dtype=torch.float64) if weight is None else (values * weight.double()).sum()


def divide(part: Tensor, whole: Tensor) -> Tensor:
    """part / whole in float64, and 0 where both are 0."""
    return part.double() / (whole + (whole == 0))


def known_mean(values_L: Tensor, known_L: Tensor) -> Tensor:
    """Mean over the labels that are known anywhere."""
    return values_L[known_L > 0].mean()


def only_known(values_L: Tensor, known_L: Tensor) -> Tensor:
    """The values, and NaN for labels that are not known anywhere."""
    return values_L.masked_fill(known_L == 0, torch.nan)
