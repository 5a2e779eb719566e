"""Metrics of the order of an example's labels: sums over rows, from the ranks of the true labels.

Definitions are scikit-learn's. A tie counts against the prediction in ranking loss, LRAP and coverage; in
precision@k, nDCG@k and one-error it counts as the mean over all orders of the tied labels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mlc.metrics.ranks import BLOCK_CELLS, PositiveRanks, positive_ranks


class RankingSums(NamedTuple):
    """What a batch adds to the ranking metrics: each the sum over rows of the row's value (float64).

    Args:
        ranking_loss: pairs (true label, other label) in the wrong order or tied, as a share of all pairs.
        lrap: mean over the true labels of: true labels scored at least as high / labels scored as high.
        coverage: labels to go through, best first, until all true ones are met.
        one_error: 1 where the top label is not true.
        precision_K: true labels among the first k, over k.
        ndcg_K: discounted gain of the first k, over the best that is possible.
        rows: number of rows.
    """

    ranking_loss: Tensor
    lrap: Tensor
    coverage: Tensor
    one_error: Tensor
    precision_K: Tensor
    ndcg_K: Tensor
    rows: Tensor


def ranking_sums(scores_BL: Tensor, y_BL: Tensor, ks: Sequence[int]) -> RankingSums:
    """Sum the ranking metrics over rows.

    Args:
        scores_BL: scores, larger = more relevant.
        y_BL: targets, 0 or 1.
        ks: the cut-offs of precision@k and nDCG@k, each from 1 to L.

    Source: Tsoumakas, Katakis & Vlahavas, 2010, "Mining multi-label data", section 7.1.3; nDCG: Järvelin &
        Kekäläinen, 2002, with ties after McSherry & Najork, 2008.
    Differs: rows without true labels have ranking loss 0, LRAP 1, coverage 0, precision 0, nDCG 0 and
        one-error 1; coverage counts labels (best = the number of true ones), not steps.
    """
    block_rows = max(1, BLOCK_CELLS // scores_BL.shape[1])
    blocks = zip(torch.split(scores_BL, block_rows), torch.split(y_BL, block_rows), strict=True)
    parts = [_block_sums(scores, y, ks) for scores, y in blocks]
    return RankingSums(*(torch.stack(values).sum(0) for values in zip(*parts, strict=True)))


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


def _block_sums(scores_BL: Tensor, y_BL: Tensor, ks: Sequence[int]) -> RankingSums:
    rows, n_labels = scores_BL.shape
    ranks = positive_ranks(scores_BL, y_BL)
    n_B = ranks.positives_R
    n_P = n_B[ranks.row_P].double()
    others_P = (n_labels - n_P).clamp(min=1)
    wrong_P = ranks.at_least_P - ranks.positives_at_least_P
    tied_P = (ranks.at_least_P - ranks.above_P).double()
    coverage_B = torch.zeros_like(n_B).scatter_reduce_(0, ranks.row_P, ranks.at_least_P, "amax")
    precision_K, ndcg_K = _cut_off_sums(ranks, n_labels, ks)
    return RankingSums(
        ranking_loss=(wrong_P / (n_P * others_P)).sum(),
        lrap=(ranks.positives_at_least_P / (ranks.at_least_P * n_P)).sum() + (n_B == 0).sum(),
        coverage=coverage_B.sum().double(),
        one_error=rows - ((ranks.above_P == 0) / tied_P).sum(),
        precision_K=precision_K,
        ndcg_K=ndcg_K,
        rows=n_P.new_tensor(rows),
    )


def _cut_off_sums(ranks: PositiveRanks, n_labels: int, ks: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Sums over rows of precision@k and nDCG@k.

    A true label whose tie covers the ranks above+1 .. at_least takes the mean of what these ranks are worth.
    """
    device = ranks.row_P.device
    k_K = torch.tensor(ks, device=device)
    first_PK = torch.minimum(ranks.above_P[:, None], k_K)
    last_PK = torch.minimum(ranks.at_least_P[:, None], k_K)
    tied_P1 = (ranks.at_least_P - ranks.above_P)[:, None].double()
    precision_K = ((last_PK - first_PK) / tied_P1).sum(0) / k_K

    rank_L = torch.arange(1, n_labels + 1, device=device, dtype=torch.float64)
    worth = torch.cat([rank_L.new_zeros(1), (1 / torch.log2(rank_L + 1)).cumsum(0)])
    best_PK = worth[torch.minimum(ranks.positives_R[ranks.row_P][:, None], k_K)]
    ndcg_K = ((worth[last_PK] - worth[first_PK]) / (tied_P1 * best_PK)).sum(0)
    return precision_K, ndcg_K
