"""Where each positive stands when its row is sorted by score: all that ranking metrics need to know.

LRAP, coverage, ranking loss, precision@k and nDCG@k are sums over the positives of functions of these ranks,
with rows = examples; average precision is the same sum with rows = labels. So one sort serves them all, and
ties are handled once.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mlc.metrics.weights import known_entries

# Cells sorted at a time: 8 MB of keys, so that a block stays in the processor's cache.
BLOCK_CELLS = 2**20
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
    positive_RC, known_RC = y_RC > 0, known_entries(y_RC)
    keys_RC = _keys(scores_RC, known_RC)
    keys = _sort_rows(keys_RC).flatten()
    key_P = keys_RC[positive_RC].sort().values
    row_P = (key_P + 2**31) >> 32

    end_P = (row_P + 1) * scores_RC.shape[1]
    positives_R = positive_RC.sum(1)
    positives_end_P = positives_R.cumsum(0)[row_P]
    return PositiveRanks(
        row_P=row_P,
        above_P=end_P - torch.searchsorted(keys, key_P, right=True),
        at_least_P=end_P - torch.searchsorted(keys, key_P),
        positives_at_least_P=positives_end_P - torch.searchsorted(key_P, key_P),
        positives_R=positives_R,
        known_R=None if known_RC is None else known_RC.sum(1),
    )


def _keys(scores_RC: Tensor, known_RC: Tensor | None) -> Tensor:
    """R×C int64 keys that sort by row first and by score within the row, unknown cells below all others.

    The bits of a float32 sort like an integer, once those of negative numbers are reversed. With the row in
    the upper half, rows sorted one by one are sorted as a whole, so a binary search needs no loop over rows.
    """
    # Adding 0 turns -0.0 into 0.0: they are equal as scores but not as bits.
    bits_RC = (scores_RC.float() + 0.0).contiguous().view(torch.int32)
    ordered_RC = bits_RC ^ ((bits_RC >> 31) & 0x7FFFFFFF)
    if known_RC is not None:
        ordered_RC = ordered_RC.masked_fill(~known_RC, _BELOW_ALL)
    return ordered_RC + (torch.arange(len(scores_RC), device=scores_RC.device) << 32)[:, None]


def _sort_rows(keys_RC: Tensor) -> Tensor:
    if keys_RC.is_cpu:
        # On one core NumPy's sort takes half the time of torch's, which sorts the indices too.
        return torch.from_numpy(np.sort(keys_RC.numpy(), axis=1))
    return keys_RC.sort(dim=1).values
