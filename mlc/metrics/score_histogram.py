"""Average precision from histograms of the scores: memory L×K whatever the number of rows, bound stated.

Rows in different bins are ordered for certain; rows in one bin may lie in any order or be tied. That leaves
an interval for the average precision; the value reported is its middle, the bound its half-width.

Histograms of counts are int32; where rows have weights, their sums are float64.
"""

import torch
from torch import Tensor

from mlc.metrics.average_precision import AveragePrecision, curve_counts
from mlc.metrics.ranks import BLOCK_CELLS
from mlc.metrics.weights import entry_weights

BINS = 2048
_BINS_PER_OCTAVE_LOG2 = 7
_MANTISSA_BITS = 23
_BITS_OF_ONE = 0x3F800000


def score_bins(scores_BL: Tensor) -> Tensor:
    """The bin of each score, 0 .. BINS - 1, never against the order of the scores.

    1 + |score| is cut into 128 equal bins from each power of 2 to the next: a bin is 1/128 wide at 0 and 1/16
    at ±10, so that rare labels, whose logits lie far below 0, are resolved as well. Scores beyond ±255 share
    the outermost bins. Meant for scores on an unbounded scale, such as logits.
    """
    # Read from the bits of a float32, because a rounded logarithm could put two scores out of order.
    bits_BL = (scores_BL.float().abs() + 1).view(torch.int32) - _BITS_OF_ONE
    size_BL = (bits_BL >> (_MANTISSA_BITS - _BINS_PER_OCTAVE_LOG2)).clamp_(max=BINS // 2 - 1)
    return torch.where(scores_BL < 0, ~size_BL, size_BL).long() + BINS // 2


def add_to_histograms(
    all_KL: Tensor, positive_KL: Tensor, scores_BL: Tensor, y_BL: Tensor, weight_B: Tensor | None = None
) -> None:
    """Count a batch into the histograms of all rows and of the positive rows, in place.

    In place because the histograms may be far larger than the batch.

    Args:
        all_KL, positive_KL: int32; float64 if any batch has weights.
        scores_BL: scores, larger = more relevant.
        y_BL: targets: 0 or 1, NaN where unknown.
        weight_B: weights of the rows; None where all are 1.
    """
    bin_BL, count_BL = score_bins(scores_BL), entry_weights(y_BL, weight_B)
    positive_BL = (y_BL > 0).to(positive_KL.dtype)
    if count_BL is None:
        count_BL = all_KL.new_ones(()).expand(bin_BL.shape)
    elif weight_B is not None:
        positive_BL = positive_BL * count_BL
    all_KL.scatter_add_(0, bin_BL, count_BL.to(all_KL.dtype))
    positive_KL.scatter_add_(0, bin_BL, positive_BL)


def histogram_average_precision(all_KL: Tensor, positive_KL: Tensor, unit: float = 1.0) -> AveragePrecision:
    """Average precision per label, with the bound, and the precision-recall curve at the bins' lower edges.

    Args:
        all_KL: rows per bin, or the sums of their weights, from the lowest scores to the highest.
        positive_KL: positive rows per bin, or the sums of their weights.
        unit: no row with a weight above 0 weighs less than this; the bound is the wider the smaller it is.
    """
    block = BLOCK_CELLS // len(all_KL)
    pairs = zip(torch.split(all_KL, block, dim=1), torch.split(positive_KL, block, dim=1), strict=True)
    blocks = [
        _block(_best_first(everything, unit), _best_first(positive, unit)) for everything, positive in pairs
    ]
    return AveragePrecision(*(torch.cat(values) for values in zip(*blocks, strict=True)))


def _best_first(counts_KL: Tensor, unit: float) -> Tensor:
    counts_LK = counts_KL.flip(0).T
    if counts_LK.is_floating_point():
        return counts_LK.contiguous() / unit
    return counts_LK.long().contiguous()


def _block(all_LK: Tensor, positive_LK: Tensor) -> AveragePrecision:
    """The same for a few labels, bins from the highest scores to the lowest."""
    predicted_LK, tp_LK = all_LK.cumsum(1), positive_LK.cumsum(1)
    n_L = tp_LK[:, -1]
    lower_L, upper_L = _bounds(all_LK, positive_LK)

    at_LC = torch.searchsorted(tp_LK, curve_counts(n_L))
    tp_LC = tp_LK.gather(1, at_LC).double()
    none_L1 = (n_L == 0)[:, None]
    return AveragePrecision(
        ap_L=(lower_L + upper_L) / 2,
        error_bound_L=(upper_L - lower_L) / 2,
        precision_LC=(tp_LC / predicted_LK.gather(1, at_LC)).masked_fill(none_L1, torch.nan),
        recall_LC=tp_LC / n_L[:, None],
    )


def _bounds(all_LK: Tensor, positive_LK: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest and largest average precision of each label that the counts allow.

    Before a bin: t positives among r rows; in it: m positives and q others. A positive of the bin has
    precision at best (t+m)/(r+m): all its positives tied, above the others. At worst the j-th of them has
    (t+j)/(r+q+j): no tie, below the others; summed over j, 1 - (r+q-t)/(r+q+j) is a difference of digammas.

    Weights of 1 or more, whole or not, stay within: a positive of weight w below b others adds at least
    w - (b-t) w/(b+w) at worst, and w/(b+w) <= digamma(b+w+1) - digamma(b+1) for every w >= 1.
    """
    m_LK, q_LK = positive_LK.double(), (all_LK - positive_LK).double().clamp(min=0)
    t_LK, r_LK = m_LK.cumsum(1) - m_LK, (m_LK + q_LK).cumsum(1) - m_LK - q_LK
    best_LK = m_LK * (t_LK + m_LK) / (r_LK + m_LK).clamp(min=1)
    behind_LK = r_LK + q_LK
    harmonic_LK = torch.digamma(behind_LK + m_LK + 1) - torch.digamma(behind_LK + 1)
    worst_LK = m_LK - (behind_LK - t_LK) * harmonic_LK
    n_L = m_LK.sum(1)
    return worst_LK.sum(1) / n_L, best_LK.sum(1) / n_L
