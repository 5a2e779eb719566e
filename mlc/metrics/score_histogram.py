"""Average precision from histograms of the scores: memory L×K whatever the number of rows, bound stated.

Rows in different bins are ordered for certain; rows in one bin may lie in any order or be tied. That leaves
an interval for the average precision; the value reported is its middle, the bound its half-width.
"""

import math

import torch
from torch import Tensor

from mlc.metrics.average_precision import AveragePrecision, curve_counts

BINS = 1000
# Scores beyond ±64 share the outermost bins.
_LARGEST = 64.0


def bin_edges() -> Tensor:
    """The BINS - 1 inner edges: even steps of ±log(1 + |score|).

    Fine around 0 (0.0084) and in proportion further out (0.09 at ±10), so that rare labels, whose logits lie
    far below 0, are resolved as well. Meant for scores on an unbounded scale, such as logits.
    """
    limit = math.log1p(_LARGEST)
    step = torch.linspace(-limit, limit, BINS - 1, dtype=torch.float64)
    return (step.sign() * torch.expm1(step.abs())).float()


def add_to_histograms(all_KL: Tensor, positive_KL: Tensor, scores_BL: Tensor, y_BL: Tensor) -> None:
    """Count a batch into the int32 histograms of all rows and of the positive rows, in place.

    In place because the histograms may be far larger than the batch.
    """
    # Searching the edges keeps the order of scores for certain; rounding in a formula would not.
    bin_BL = torch.bucketize(scores_BL.float(), bin_edges().to(scores_BL.device), right=True)
    all_KL.scatter_add_(0, bin_BL, all_KL.new_ones(()).expand(bin_BL.shape))
    positive_KL.scatter_add_(0, bin_BL, y_BL.to(positive_KL.dtype))


def histogram_average_precision(all_KL: Tensor, positive_KL: Tensor) -> AveragePrecision:
    """Average precision per label, with the bound, and the precision-recall curve at the bins' lower edges.

    Args:
        all_KL: rows per bin, from the lowest scores to the highest.
        positive_KL: positive rows per bin.
    """
    all_LK, positive_LK = all_KL.T.flip(1).long(), positive_KL.T.flip(1).long()
    predicted_LK, tp_LK = all_LK.cumsum(1), positive_LK.cumsum(1)
    n_L = tp_LK[:, -1]
    lower_L, upper_L = _bounds(all_LK, positive_LK)

    at_LC = torch.searchsorted(tp_LK, curve_counts(n_L))
    at_tp_LC = tp_LK.gather(1, at_LC).double()
    none_L1 = (n_L == 0)[:, None]
    return AveragePrecision(
        ap_L=(lower_L + upper_L) / 2,
        error_bound_L=(upper_L - lower_L) / 2,
        precision_LC=(at_tp_LC / predicted_LK.gather(1, at_LC)).masked_fill(none_L1, torch.nan),
        recall_LC=at_tp_LC / n_L[:, None],
    )


def _bounds(all_LK: Tensor, positive_LK: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest and largest average precision of each label that the counts allow, bins best first.

    Before a bin: t positives among r rows; in it: m positives and q others. A positive of the bin has
    precision at best (t+m)/(r+m): all its positives tied, above the others. At worst the j-th of them has
    (t+j)/(r+q+j): no tie, below the others; summed over j, 1 - (r+q-t)/(r+q+j) is a difference of digammas.
    """
    m_LK, q_LK = positive_LK.double(), (all_LK - positive_LK).double()
    t_LK, r_LK = m_LK.cumsum(1) - m_LK, (m_LK + q_LK).cumsum(1) - m_LK - q_LK
    best_LK = m_LK * (t_LK + m_LK) / (r_LK + m_LK).clamp(min=1)
    behind_LK = r_LK + q_LK
    harmonic_LK = torch.digamma(behind_LK + m_LK + 1) - torch.digamma(behind_LK + 1)
    worst_LK = m_LK - (behind_LK - t_LK) * harmonic_LK
    n_L = m_LK.sum(1)
    return worst_LK.sum(1) / n_L, best_LK.sum(1) / n_L
