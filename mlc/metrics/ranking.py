"""Metrics of the order of an example's labels: sums over rows, from the ranks of the true labels.

Definitions are scikit-learn's. A tie counts against the prediction in ranking loss, LRAP and coverage; in
precision@k, nDCG@k and one-error it counts as the mean over all orders of the tied labels.

Labels that are unknown in a row do not exist for that row.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mlc.metrics.ranks import PositiveRanks, positive_ranks
from mlc.metrics.weights import grand_total, known_entries, total


class RankingSums(NamedTuple):
    """What a batch adds to the ranking metrics: sums over rows of the row's value times its weight (float64).

    Args:
        ranking_loss: pairs (true label, other label) in the wrong order or tied, as a share of all pairs.
        lrap: mean over the true labels of: true labels scored at least as high / labels scored as high.
        coverage: labels to go through, best first, until all true ones are met.
        one_error: 1 where the top label is not true.
        precision_K: true labels among the first k, over k (over the known labels, if they are fewer than k).
        ndcg_K: discounted gain of the first k, over the best that is possible.
        rows: number of rows with a known label; the others count nowhere.
    """

    ranking_loss: Tensor
    lrap: Tensor
    coverage: Tensor
    one_error: Tensor
    precision_K: Tensor
    ndcg_K: Tensor
    rows: Tensor


def ranking_sums(
    scores_BL: Tensor, y_BL: Tensor, ks: Sequence[int], weight_B: Tensor | None = None
) -> RankingSums:
    """Sum the ranking metrics over rows.

    Args:
        scores_BL: scores, larger = more relevant.
        y_BL: targets: 0 or 1, NaN where unknown.
        ks: the cut-offs of precision@k and nDCG@k, each from 1 to L.
        weight_B: weights of the rows; None where all are 1.

    Source: Tsoumakas, Katakis & Vlahavas, 2010, "Mining multi-label data", section 7.1.3; nDCG: Järvelin &
        Kekäläinen, 2002, with ties after McSherry & Najork, 2008.
    Differs: rows without true labels have ranking loss 0, LRAP 1, coverage 0, precision 0, nDCG 0 and
        one-error 1; coverage counts labels (best = the number of true ones), not steps.
    """
    known_BL = known_entries(y_BL)
    if known_BL is not None:
        labelled_B = known_BL.any(1)
        scores_BL, y_BL = scores_BL[labelled_B], y_BL[labelled_B]
        weight_B = None if weight_B is None else weight_B[labelled_B]
    return sums_of_ranks(positive_ranks(scores_BL, y_BL), scores_BL.shape[1], ks, weight_B)


def ranking_metrics(sums: RankingSums, ks: Sequence[int]) -> dict[str, float]:
    """Every ranking metric: the mean over rows."""
    values = {
        "ranking_loss": sums.ranking_loss,
        "lrap": sums.lrap,
        "coverage_error": sums.coverage,
        "one_error": sums.one_error,
    }
    values |= {f"precision_at_{k}": value for k, value in zip(ks, sums.precision_K, strict=True)}
    values |= {f"ndcg_at_{k}": value for k, value in zip(ks, sums.ndcg_K, strict=True)}
    return {name: float(value / sums.rows) for name, value in values.items()}


def sums_of_ranks(
    ranks: PositiveRanks, n_labels: int, ks: Sequence[int], weight_B: Tensor | None
) -> RankingSums:
    """The same from the ranks of the true labels; a row without any known label must weigh 0.

    Args:
        ranks: of the true labels of each row.
        n_labels: number of labels L.
        ks: the cut-offs.
        weight_B: weights of the rows; None where all are 1.
    """
    n_B = ranks.positives_R
    n_P = n_B[ranks.row_P].double()
    weight_P = None if weight_B is None else weight_B[ranks.row_P]
    known_P = n_labels if ranks.known_R is None else ranks.known_R[ranks.row_P]
    others_P = (known_P - n_P).clamp(min=1)
    wrong_P = ranks.at_least_P - ranks.positives_at_least_P
    tied_P = (ranks.at_least_P - ranks.above_P).double()
    coverage_B = torch.zeros_like(n_B).scatter_reduce_(0, ranks.row_P, ranks.at_least_P, "amax")
    lrap_P = ranks.positives_at_least_P / (ranks.at_least_P * n_P)
    precision_K, ndcg_K = _cut_off_sums(ranks, ks, weight_P)
    counted = n_P.new_tensor(len(n_B)) if weight_B is None else weight_B.double().sum()
    return RankingSums(
        ranking_loss=total(wrong_P / (n_P * others_P), weight_P),
        lrap=total(lrap_P, weight_P) + total(n_B == 0, weight_B),
        coverage=grand_total(coverage_B, weight_B),
        one_error=counted - total((ranks.above_P == 0) / tied_P, weight_P),
        precision_K=precision_K,
        ndcg_K=ndcg_K,
        rows=counted,
    )


def _cut_off_sums(ranks: PositiveRanks, ks: Sequence[int], weight_P: Tensor | None) -> tuple[Tensor, Tensor]:
    """Sums over rows of precision@k and nDCG@k.

    A true label whose tie covers the ranks above+1 .. at_least takes the mean of what these ranks are worth.
    """
    device = ranks.row_P.device
    k_K = torch.tensor(ks, device=device)
    first_PK = torch.minimum(ranks.above_P[:, None], k_K)
    last_PK = torch.minimum(ranks.at_least_P[:, None], k_K)
    tied_P1 = (ranks.at_least_P - ranks.above_P)[:, None].double()
    share_PK = (last_PK - first_PK) / tied_P1
    if ranks.known_R is not None:
        share_PK *= k_K / torch.minimum(ranks.known_R[ranks.row_P][:, None], k_K)
    precision_K = total(share_PK, weight_P) / k_K

    rank_K = torch.arange(1, max(ks, default=0) + 1, device=device, dtype=torch.float64)
    worth = torch.cat([rank_K.new_zeros(1), (1 / torch.log2(rank_K + 1)).cumsum(0)])
    best_PK = worth[torch.minimum(ranks.positives_R[ranks.row_P][:, None], k_K)]
    ndcg_K = total((worth[last_PK] - worth[first_PK]) / (tied_P1 * best_PK), weight_P)
    return precision_K, ndcg_K
