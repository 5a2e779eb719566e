"""Metrics of labels that have levels 0, 1, 2, ...: everything follows from counts of pairs of them."""

from typing import NamedTuple

import torch
from torch import Tensor

from mlc.errors import UserError
from mlc.metrics.average_precision import label_mean
from mlc.metrics.weights import entry_weights, known_entries, total


class LevelSums(NamedTuple):
    """What a batch adds to the metrics of levels (float64), each row times its weight.

    Args:
        pairs_LKK: rows in which the label's true level is the second index and the decided one the third.
        exact_rows: rows in which every known label has its level.
        rows: rows with a known label; only these count.
    """

    pairs_LKK: Tensor
    exact_rows: Tensor
    rows: Tensor


def level_sums(
    levels_BL: Tensor, y_BL: Tensor, weight_B: Tensor | None = None, *, n_levels: int
) -> LevelSums:
    """Count the decided levels against the true ones.

    Args:
        levels_BL: int64 decided levels, 0 .. K - 1.
        y_BL: true levels, 0 .. K - 1, NaN where unknown.
        weight_B: weights of the rows; None where all are 1.
        n_levels: number of levels K.

    Raises:
        UserError: a true level is K or above.
    """
    n_labels = y_BL.shape[1]
    true_BL = y_BL.nan_to_num(nan=0.0).long()
    if (true_BL >= n_levels).any():
        raise UserError(
            f"A target has level {int(true_BL.max())}, but the training targets end at level {n_levels - 1}: "
            f"the training split must hold the highest level."
        )
    known_BL = known_entries(y_BL)
    known_BL = torch.ones_like(true_BL, dtype=torch.bool) if known_BL is None else known_BL
    labelled_B = known_BL.any(1)
    right_B = ((levels_BL == true_BL) | ~known_BL).all(1)

    label_L = torch.arange(n_labels, device=y_BL.device)
    cell_BL = (label_L * n_levels + true_BL) * n_levels + levels_BL
    count_BL = entry_weights(y_BL, weight_B)
    pairs = torch.bincount(
        cell_BL.flatten(),
        weights=None if count_BL is None else count_BL.flatten(),
        minlength=n_labels * n_levels**2,
    )
    return LevelSums(
        pairs_LKK=pairs.double().view(n_labels, n_levels, n_levels),
        exact_rows=total(right_B & labelled_B, weight_B).double(),
        rows=total(labelled_B, weight_B).double(),
    )


def label_kappa(sums: LevelSums) -> Tensor:
    """Cohen's kappa of each label with quadratic weights; NaN where only one level is true and decided.

    Source: Cohen, 1968, "Weighted kappa".
    """
    distance_KK = _distance(sums).square()
    true_LK, decided_LK = sums.pairs_LKK.sum(2), sums.pairs_LKK.sum(1)
    n_L11 = true_LK.sum(1)[:, None, None]
    by_chance_LKK = true_LK[:, :, None] * decided_LK[:, None, :] / n_L11
    observed_L = (distance_KK * sums.pairs_LKK).sum((1, 2))
    return 1 - observed_L / (distance_KK * by_chance_LKK).sum((1, 2))


def level_metrics(sums: LevelSums) -> dict[str, float | None]:
    """Every metric of levels; kappa is None where no label has one."""
    entries = sums.pairs_LKK.sum()
    right = sums.pairs_LKK.diagonal(dim1=1, dim2=2).sum()
    return {
        "level_accuracy": float(right / entries),
        "level_mae": float((_distance(sums) * sums.pairs_LKK).sum() / entries),
        "level_exact": float(sums.exact_rows / sums.rows),
        "level_quadratic_kappa": label_mean(label_kappa(sums)),
    }


def _distance(sums: LevelSums) -> Tensor:
    level_K = torch.arange(sums.pairs_LKK.shape[1], device=sums.pairs_LKK.device, dtype=torch.float64)
    return (level_K[:, None] - level_K).abs()
