"""Where each positive stands when its row is sorted by score: all that ranking metrics need to know.

LRAP, coverage, ranking loss, precision@k and nDCG@k are sums over the positives of functions of these ranks,
with rows = examples; average precision is the same sum with rows = labels. So one sort serves them all, and
ties are handled once.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from mlc.metrics.blocks import CELLS, in_threads, places, slices
from mlc.metrics.weights import is_true, known_entries

# Of no score: the bits of -inf come out above it.
_BELOW_ALL = -(2**31)


class PositiveRanks(NamedTuple):
    """Ranks of the P positives of an R×C matrix, row by row, from the lowest score to the highest.

    Args:
        row_P: the row of each positive.
        above_P: cells of its row with a larger score.
        at_least_P: cells of its row with a score at least as large, itself included.
        positives_at_least_P: those of them that are positive.
        positives_R: positives in each row.
        known_R: cells in each row whose target is known; the others count nowhere. None where all are.
    """

    row_P: Tensor
    above_P: Tensor
    at_least_P: Tensor
    positives_at_least_P: Tensor
    positives_R: Tensor
    known_R: Tensor | None


def positive_ranks(scores_RC: Tensor, y_RC: Tensor) -> PositiveRanks:
    """Rank the positives (y_RC is 1 or True) of each row by their scores, read as float32."""
    scores_RC, known_RC = scores_RC.float().contiguous(), known_entries(y_RC)
    rows, columns = len(y_RC), max(1, y_RC.shape[1])
    place_P = places(is_true(y_RC))
    row_P = place_P // columns
    key_P = ordered_keys(scores_RC.flatten().index_select(0, place_P))
    lowest_R = key_P.new_full((rows,), torch.iinfo(key_P.dtype).max)
    lowest_R.scatter_reduce_(0, row_P, key_P, "amin")
    whole_P, order_P = _with_rows(key_P, row_P).sort()
    key_P, row_P = key_P[order_P], row_P[order_P]
    positives_R = torch.bincount(row_P, minlength=rows)
    positives_end_R = positives_R.cumsum(0)

    step = max(1, CELLS // columns if y_RC.is_cpu else rows)
    ends = positives_end_R[step - 1 : -1 : step].cpu()

    def found(of_block: tuple[slice, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        block, keys_P, rows_P = of_block
        known = None if known_RC is None else known_RC[block]
        return _above_and_at_least(keys_P, rows_P, scores_RC[block], known, lowest_R[block])

    blocks = zip(slices(rows, step), key_P.tensor_split(ends), (row_P % step).tensor_split(ends), strict=True)
    above_P, at_least_P = map(torch.cat, zip(*in_threads(found, blocks), strict=True))
    return PositiveRanks(
        row_P=row_P,
        above_P=above_P,
        at_least_P=at_least_P,
        positives_at_least_P=positives_end_R[row_P] - torch.searchsorted(whole_P, whole_P),
        positives_R=positives_R,
        known_R=None if known_RC is None else known_RC.sum(1),
    )


def ordered_keys(scores: Tensor) -> Tensor:
    """Int32 keys that sort like the scores, read as float32, and are equal where those are.

    The bits of a float32 sort like an integer, once those of negative numbers are reversed.
    """
    # Adding 0 turns -0.0 into 0.0: they are equal as scores but not as bits.
    bits = (scores.float() + 0.0).contiguous().view(torch.int32)
    return (bits >> 31).bitwise_and_(0x7FFFFFFF).bitwise_xor_(bits)


def _above_and_at_least(
    key_P: Tensor, row_P: Tensor, scores_RC: Tensor, known_RC: Tensor | None, lowest_R: Tensor
) -> tuple[Tensor, Tensor]:
    """Cells of each positive's row with a larger key, and with one at least as large.

    Args:
        key_P: keys of the positives, in rising order row by row.
        row_P: their rows.
        scores_RC: scores of the rows.
        known_RC: which of their cells are known; None where all are.
        lowest_R: the lowest key of a positive in each row.
    """
    if not key_P.numel():
        return row_P, row_P
    keys_RC = ordered_keys(scores_RC)
    if known_RC is not None:
        keys_RC.masked_fill_(~known_RC, _BELOW_ALL)
    # Cells below all positives of their row need no order, and with a good model they are nearly all there
    # are: made equal, they are sorted in no time.
    keys_RC.clamp_(min=lowest_R[:, None] - 1)
    if keys_RC.is_cpu:
        # NumPy sorts with vector instructions; torch sorts indices too, which takes several times as long.
        keys_RC.numpy().sort(axis=1)
    else:
        keys_RC = keys_RC.sort(dim=1).values
    keys_RC = keys_RC[:, int(torch.searchsorted(keys_RC, lowest_R[:, None]).min()) :]
    row_R1 = torch.arange(len(keys_RC), device=keys_RC.device)[:, None]
    keys, key_P = _with_rows(keys_RC, row_R1).flatten(), _with_rows(key_P, row_P)
    end_P = (row_P + 1) * keys_RC.shape[1]
    return end_P - torch.searchsorted(keys, key_P, right=True), end_P - torch.searchsorted(keys, key_P)


def _with_rows(keys: Tensor, row: Tensor) -> Tensor:
    """The keys with their row in the upper half: rows sorted one by one are then sorted as a whole.

    So a binary search needs no loop over rows.
    """
    return keys.long().add_(row << 32)
