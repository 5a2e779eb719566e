"""Average precision of each label: how well its scores sort the rows. Exact, from the scores of all rows.

A label without positives has no average precision (NaN here, null in reports), and mAP leaves it out. A row
in which a label is unknown does not exist for that label.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mlc.metrics.blocks import CELLS, in_threads
from mlc.metrics.ranks import positive_ranks
from mlc.metrics.weights import divide

# Points of a precision-recall curve: at 1 %, 2 %, .. 100 % of a label's positives.
CURVE_POINTS = 100
# Sums of weights are rounded: a share that is missed by less than this has been reached.
_ROUNDING = 1e-9


class AveragePrecision(NamedTuple):
    """Average precision and precision-recall curve of each label; NaN for labels without positives.

    Args:
        ap_L: average precision.
        error_bound_L: the true value lies within ap_L ± error_bound_L; 0 where ap_L is exact.
        precision_LC, recall_LC: C = CURVE_POINTS points of the curve, by increasing recall: the c-th is where
            the threshold, coming down from above, first reaches c % of the positives.
    """

    ap_L: Tensor
    error_bound_L: Tensor
    precision_LC: Tensor
    recall_LC: Tensor


def average_precision(
    scores: Sequence[Tensor], y: Sequence[Tensor], weight_N: Tensor | None = None
) -> AveragePrecision:
    """Average precision per label: the mean over its positives of the precision at their score.

    Equals Σ (recall step) · precision without interpolation; tied rows enter together.

    Args:
        scores: N×L scores, larger = more relevant, in parts of some rows each: joining them would hold the
            whole twice. It works on a few labels at a time for the same reason.
        y: targets, in the same parts: 0 or 1 of any type; NaN, or -1 in a type without NaN, where unknown.
        weight_N: weights of the rows; None where all are 1.

    Source: scikit-learn, `average_precision_score`; Boyd, Eng & Page, 2013.
    """

    def block(labels: slice) -> AveragePrecision:
        return labels_average_precision(joined_labels(scores, labels), joined_labels(y, labels), weight_N)

    blocks = label_blocks(sum(len(part) for part in scores), scores[0].shape[1])
    return concatenated(in_threads(block, blocks))


def label_blocks(rows: int, n_labels: int) -> list[slice]:
    """Blocks of as many labels as may be sorted at a time."""
    step = max(1, CELLS // max(1, rows))
    return [slice(start, start + step) for start in range(0, n_labels, step)]


def joined_labels(parts: Sequence[Tensor], labels: slice) -> Tensor:
    """A few columns of all parts, joined."""
    return torch.cat([part[:, labels] for part in parts])


def labels_average_precision(scores_NL: Tensor, y_NL: Tensor, weight_N: Tensor | None) -> AveragePrecision:
    """Average precision of a few labels, all at once."""
    if weight_N is None or len(weight_N) == 0:
        return _block(scores_NL.T, y_NL.T)
    return _weighted_block(scores_NL.T, y_NL.T, weight_N)


def concatenated(blocks: Iterable[AveragePrecision]) -> AveragePrecision:
    """The labels of all blocks, one block after the other."""
    return AveragePrecision(*(torch.cat(values) for values in zip(*blocks, strict=True)))


def label_mean(values_L: Tensor) -> float | None:
    """Mean over the labels for which a value is defined (not NaN); None if there is none."""
    mean = float(values_L.nanmean())
    return None if math.isnan(mean) else mean


def curve_counts(positives_L: Tensor) -> Tensor:
    """L×C how many positives each point of the curve must reach: c % of them, rounded up if they are counted.

    Args:
        positives_L: positives of each label: their number, or the sum of their weights (float64).
    """
    point_C = torch.arange(1, CURVE_POINTS + 1, device=positives_L.device)
    if positives_L.is_floating_point():
        return point_C * positives_L[:, None] / CURVE_POINTS * (1 - _ROUNDING)
    return (point_C * positives_L[:, None] + CURVE_POINTS - 1) // CURVE_POINTS


def _block(scores_LN: Tensor, y_LN: Tensor) -> AveragePrecision:
    ranks = positive_ranks(scores_LN, y_LN)
    n_L = ranks.positives_R
    precision_P = ranks.positives_at_least_P.double() / ranks.at_least_P
    recall_P = ranks.positives_at_least_P.double() / n_L[ranks.row_P]
    ap_L = torch.zeros_like(n_L, dtype=torch.float64).index_add_(0, ranks.row_P, precision_P) / n_L

    # A label's positives lie from its lowest score to its highest: the n-th best is n before the end.
    at_LC = n_L.cumsum(0)[:, None] - curve_counts(n_L)
    none_L1 = (n_L == 0)[:, None]
    return AveragePrecision(
        ap_L=ap_L,
        error_bound_L=ap_L - ap_L,
        precision_LC=_take(precision_P, at_LC, none_L1),
        recall_LC=_take(recall_P, at_LC, none_L1),
    )


def _weighted_block(scores_LN: Tensor, y_LN: Tensor, weight_N: Tensor) -> AveragePrecision:
    """The same with weights, from running sums over the rows, best first; what weighs 0 adds nothing."""
    sorted_LN, order_LN = scores_LN.sort(dim=1, descending=True)
    y_LN = y_LN.gather(1, order_LN)
    weight_LN = weight_N.double()[order_LN] * (y_LN >= 0)
    positive_LN = weight_LN * (y_LN > 0)
    last_LN = _last_of_tie(sorted_LN)
    tp_LN = positive_LN.cumsum(1).gather(1, last_LN)
    precision_LN = divide(tp_LN, weight_LN.cumsum(1).gather(1, last_LN))
    n_L = tp_LN[:, -1]
    ap_L = (positive_LN * precision_LN).sum(1) / n_L

    at_LC = torch.searchsorted(tp_LN, curve_counts(n_L))
    none_L1 = (n_L == 0)[:, None]
    return AveragePrecision(
        ap_L=ap_L,
        error_bound_L=ap_L - ap_L,
        precision_LC=precision_LN.gather(1, at_LC).masked_fill(none_L1, torch.nan),
        recall_LC=tp_LN.gather(1, at_LC) / n_L[:, None],
    )


def _last_of_tie(sorted_LN: Tensor) -> Tensor:
    """The position of the last of the equal scores that each position is among."""
    end_LN = torch.ones_like(sorted_LN, dtype=torch.bool)
    end_LN[:, :-1] = sorted_LN[:, 1:] != sorted_LN[:, :-1]
    position_N = torch.arange(sorted_LN.shape[1], device=sorted_LN.device)
    position_LN = position_N.masked_fill(~end_LN, sorted_LN.shape[1])
    return position_LN.flip(1).cummin(1).values.flip(1)


def _take(values_P: Tensor, at_LC: Tensor, none_L1: Tensor) -> Tensor:
    """values_P[at_LC], and NaN in the rows without positives, whose index may lie outside."""
    padded = torch.cat([values_P, values_P.new_full((1,), torch.nan)])
    return padded[at_LC.masked_fill(none_L1, len(values_P))]
