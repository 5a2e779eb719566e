"""Where each positive stands when its row is sorted by score: all that ranking metrics need to know.

LRAP, coverage, ranking loss, precision@k and nDCG@k are sums over the positives of functions of these ranks,
with rows = examples; average precision is the same sum with rows = labels. So one sort serves them all, and
ties are handled once.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from mlc.metrics.blocks import places
from mlc.metrics.weights import is_true, known_entries

# Cells sorted at a time: 1 MB of keys, so that a block stays in the processor's cache.
BLOCK_CELLS = 2**18
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
    positive_RC, known_RC = is_true(y_RC), known_entries(y_RC)
    keys_RC = _keys(scores_RC, known_RC)
    place_P = places(positive_RC)
    # With the row in the upper half, rows sorted one by one are sorted as a whole: a binary search needs no
    # loop over rows.
    row_P = place_P // scores_RC.shape[1]
    key_P, order_P = (keys_RC.flatten()[place_P] + (row_P << 32)).sort()
    row_P = row_P[order_P]
    row_R1 = torch.arange(len(scores_RC), device=scores_RC.device)[:, None]
    keys = _sort_rows(keys_RC).long().add_(row_R1 << 32).flatten()

    end_P = (row_P + 1) * scores_RC.shape[1]
    positives_R = torch.bincount(row_P, minlength=len(scores_RC))
    positives_end_P = positives_R.cumsum(0)[row_P]
    return PositiveRanks(
        row_P=row_P,
        above_P=end_P - torch.searchsorted(keys, key_P, right=True),
        at_least_P=end_P - torch.searchsorted(keys, key_P),
        positives_at_least_P=positives_end_P - torch.searchsorted(key_P, key_P),
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


def _keys(scores_RC: Tensor, known_RC: Tensor | None) -> Tensor:
    """R×C keys of the scores, unknown cells below all others."""
    keys_RC = ordered_keys(scores_RC)
    return keys_RC if known_RC is None else keys_RC.masked_fill_(~known_RC, _BELOW_ALL)


def _sort_rows(keys_RC: Tensor) -> Tensor:
    """The rows sorted, in place on the CPU."""
    if not keys_RC.is_cpu:
        return keys_RC.sort(dim=1).values
    # NumPy sorts with vector instructions, torch sorts the indices too, which takes several times as long.
    keys_RC.numpy().sort(axis=1)
    return keys_RC
