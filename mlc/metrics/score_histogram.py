"""Average precision from histograms of the scores: memory L×K whatever the number of rows, bound stated.

Rows in different bins are ordered for certain; rows in one bin may lie in any order or be tied. That leaves
an interval for the average precision; the value reported is its middle, the bound its half-width.

Histograms of counts are int32; where rows have weights, their sums are float64.
"""

import torch
from torch import Tensor

from mlc.metrics.average_precision import AveragePrecision, concatenated, curve_counts
from mlc.metrics.blocks import CELLS, in_threads, label_slices, places
from mlc.metrics.weights import entry_weights, is_true

BINS = 2047
_BINS_PER_OCTAVE_LOG2 = 7
_MANTISSA_BITS = 23
_MIDDLE = 0x4000
_OUTERMOST = 254.99


def score_bins(scores: Tensor, first: Tensor | int = 0) -> Tensor:
    """The bin of each score, 0 .. BINS - 1, never against the order of the scores.

    1 + |score| is cut into 128 equal bins from each power of 2 to the next: a bin is 1/128 wide near 0 (the
    one around 0 is twice as wide) and 1/16 at ±10, so that rare labels, whose logits lie far below 0, are
    resolved as well. Scores beyond ±255 share the outermost bins. Meant for scores on an unbounded scale,
    such as logits.

    Args:
        scores: the scores, of any shape.
        first: what to add to their bins, int32 of a shape that expands to theirs.
    """
    # Read from the bits of a float32, because a rounded logarithm could put two scores out of order. Those of
    # ±2 (1 + |score|), cut to sign, exponent and 7 digits, are 0x4000 + n above 0. Below 0 the sign counts
    # -0x8000, which makes them n - 0x4000. Without a sign all are 0x4000 ± n, the bin but for a constant.
    score = torch.empty(scores.shape, device=scores.device)
    torch.clamp(scores.float(), -_OUTERMOST, _OUTERMOST, out=score)
    bits = score.new_tensor(2.0).copysign(score).add_(score, alpha=2).view(torch.int32)
    bits.bitwise_right_shift_(_MANTISSA_BITS - _BINS_PER_OCTAVE_LOG2).abs_()
    return bits.add_(first + BINS // 2 - _MIDDLE).long()


def empty_histograms(n_labels: int, *, weighted: bool = False, device: str = "cpu") -> Tensor:
    """L×2×BINS zeros: of each label a histogram of all rows and one of the positive rows.

    A label's two lie together, so that counting a label stays in the processor's cache.
    """
    dtype = torch.float64 if weighted else torch.int32
    return torch.zeros(n_labels, 2, BINS, dtype=dtype, device=device)


def add_to_histograms(
    histograms_L2K: Tensor, scores_BL: Tensor, y_BL: Tensor, weight_B: Tensor | None = None
) -> None:
    """Count a batch, in place, because the histograms may be far larger than the batch.

    Args:
        histograms_L2K: of all rows and of positive rows; int32, or float64 if any batch has weights.
        scores_BL: scores, larger = more relevant.
        y_BL: targets: 0 or 1, NaN where unknown.
        weight_B: weights of the rows; None where all are 1.
    """
    true_BL, count_BL = is_true(y_BL), entry_weights(y_BL, weight_B)
    count_BL = None if count_BL is None else count_BL.to(histograms_L2K.dtype)

    def count(labels: slice) -> None:
        counts = histograms_L2K[labels].view(-1)
        first_L = torch.arange(0, len(counts), 2 * BINS, dtype=torch.int32, device=counts.device)
        bins = score_bins(scores_BL[:, labels].T, first_L[:, None]).flatten()
        # A single number that is expanded would take twice as long.
        one = counts.new_ones(len(bins)) if count_BL is None else count_BL[:, labels].T.flatten()
        counts.scatter_add_(0, bins, one)
        if not true_BL.is_cpu:  # where the true ones are is known only to the device
            counts.scatter_add_(0, bins + BINS, one * true_BL[:, labels].T.flatten())

    in_threads(count, label_slices(scores_BL))
    if true_BL.is_cpu:
        _count_true(histograms_L2K, scores_BL, places(true_BL), count_BL)


def _count_true(histograms_L2K: Tensor, scores_BL: Tensor, place_P: Tensor, count_BL: Tensor | None) -> None:
    """Count the true entries, which are at these places."""
    label_P = place_P % scores_BL.shape[1]
    bin_P = (2 * label_P + 1) * BINS + score_bins(scores_BL.flatten()[place_P])
    one_P = histograms_L2K.new_ones(len(bin_P)) if count_BL is None else count_BL.flatten()[place_P]
    histograms_L2K.view(-1).scatter_add_(0, bin_P, one_P)


def histogram_average_precision(histograms_L2K: Tensor, unit: float = 1.0) -> AveragePrecision:
    """Average precision per label, with the bound, and the precision-recall curve at the bins' lower edges.

    Args:
        histograms_L2K: all and positive rows per bin, or the sums of their weights, from the lowest
            scores to the highest.
        unit: no row with a weight above 0 weighs less than this; the bound is the wider the smaller it is.
    """

    def block(part_L2K: Tensor) -> AveragePrecision:
        return _block(*_best_first(part_L2K, unit))

    return concatenated(in_threads(block, histograms_L2K.split(max(1, CELLS // (2 * BINS)))))


def _best_first(histograms_L2K: Tensor, unit: float) -> tuple[Tensor, Tensor]:
    """All rows and positive rows, from the highest scores to the lowest, in units of the smallest weight."""
    flipped_L2K = histograms_L2K.flip(2)
    counts_L2K = flipped_L2K / unit if flipped_L2K.is_floating_point() else flipped_L2K.long()
    return counts_L2K[:, 0].contiguous(), counts_L2K[:, 1].contiguous()


def _block(all_LK: Tensor, positive_LK: Tensor) -> AveragePrecision:
    """The same for a few labels, bins from the highest scores to the lowest."""
    predicted_LK, tp_LK = all_LK.cumsum(1), positive_LK.cumsum(1)
    n_L = tp_LK[:, -1]
    lower_L, upper_L = _bounds(all_LK, positive_LK, predicted_LK, tp_LK)

    at_LC = torch.searchsorted(tp_LK, curve_counts(n_L))
    tp_LC = tp_LK.gather(1, at_LC).double()
    none_L1 = (n_L == 0)[:, None]
    return AveragePrecision(
        ap_L=(lower_L + upper_L) / 2,
        error_bound_L=(upper_L - lower_L) / 2,
        precision_LC=(tp_LC / predicted_LK.gather(1, at_LC)).masked_fill(none_L1, torch.nan),
        recall_LC=tp_LC / n_L[:, None],
    )


def _bounds(
    all_LK: Tensor, positive_LK: Tensor, predicted_LK: Tensor, tp_LK: Tensor
) -> tuple[Tensor, Tensor]:
    """Smallest and largest average precision of each label that the counts (and their running sums) allow.

    Before a bin: t positives among r rows; in it: m positives and q others. A positive of the bin has
    precision at best (t+m)/(r+m): all its positives tied, above the others. At worst the j-th of them has
    (t+j)/(r+q+j): no tie, below the others; summed over j, 1 - (r+q-t)/(r+q+j) is a difference of digammas.

    Weights of 1 or more, whole or not, stay within: a positive of weight w below b others adds at least
    w - (b-t) w/(b+w) at worst, and w/(b+w) <= digamma(b+w+1) - digamma(b+1) for every w >= 1.
    """
    # Bins without positives add nothing, and most have none.
    label_P, bin_P = positive_LK.nonzero(as_tuple=True)
    m_P, in_P = positive_LK[label_P, bin_P].double(), all_LK[label_P, bin_P].double()
    t_P, q_P = tp_LK[label_P, bin_P].double() - m_P, (in_P - m_P).clamp(min=0)
    r_P = (predicted_LK[label_P, bin_P] - all_LK[label_P, bin_P]).double()
    best_P = m_P * (t_P + m_P) / (r_P + m_P).clamp(min=1)
    harmonic_P = torch.digamma(r_P + q_P + m_P + 1) - torch.digamma(r_P + q_P + 1)
    worst_P = m_P - (r_P + q_P - t_P) * harmonic_P
    zero_L, n_L = torch.zeros_like(tp_LK[:, -1], dtype=torch.float64), tp_LK[:, -1]
    return zero_L.index_add(0, label_P, worst_P) / n_L, zero_L.index_add(0, label_P, best_P) / n_L
