"""How much is worked on at a time: temporaries that stay in the processor's cache cost a third of others.

Blocks do not depend on the number of threads, so neither do the sums.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

# Half a megabyte of float32; the allocator takes larger ones from the system again and again.
CELLS = 2**17
# Rows of a block, where they are more cells than that: a label's counts are fetched once for so many rows.
ROWS = 256

T = TypeVar("T")
R = TypeVar("R")


def in_threads(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Call a function for each item, with torch's number of threads; results in the order of the items.

    None within torch's operations meanwhile, which are too small here to be worth waking others.
    """
    threads = torch.get_num_threads()
    if min(threads, len(items)) < 2:
        return [function(item) for item in items]

    @torch.no_grad()  # which each thread must be told
    def call(item: T) -> R:
        return function(item)

    torch.set_num_threads(1)  # threads that begin now begin with this
    try:
        with ThreadPoolExecutor(min(threads, len(items))) as pool:
            return list(pool.map(call, items))
    finally:
        torch.set_num_threads(threads)


def slices(total: int, step: int) -> Iterator[slice]:
    """The range in steps; nothing is one empty slice, because no rows have the shapes of any others."""
    step = max(1, step)
    return (slice(start, start + step) for start in range(0, max(1, total), step))


def row_slices(values_BL: Tensor) -> Iterator[slice]:
    """Blocks of rows of CELLS entries; all rows on CUDA, which is fastest with much to do at a time."""
    return slices(len(values_BL), CELLS // values_BL.shape[1] if values_BL.is_cpu else len(values_BL))


def places(mask_RC: Tensor) -> Tensor:
    """Where the matrix is True, as positions in the flattened matrix, in rising order."""
    if mask_RC.is_cpu:
        # NumPy skips what is False; torch visits each cell twice.
        return torch.from_numpy(np.flatnonzero(mask_RC.contiguous().numpy()))
    return mask_RC.flatten().nonzero().squeeze(1)


def count_true(counts_LK: Tensor, bin_LB: Tensor, true_BL: Tensor, count_LB: Tensor | None) -> None:
    """Add the True entries of a block to the bins of their labels, in place.

    Args:
        counts_LK: so far; of any type.
        bin_LB: the bin of each entry.
        true_BL: booleans, with a row for each example.
        count_LB: what each entry counts; None where all count 1.
    """
    if not true_BL.is_cpu:  # where the True ones are is known only to the device
        true_LB = true_BL.T.to(counts_LK.dtype)
        counts_LK.scatter_add_(1, bin_LB, true_LB if count_LB is None else true_LB * count_LB)
        return
    place_P = places(true_BL)
    row_P = place_P // true_BL.shape[1]
    label_P = place_P - row_P * true_BL.shape[1]
    one_P = counts_LK.new_ones(()) if count_LB is None else count_LB[label_P, row_P].to(counts_LK.dtype)
    counts_LK.index_put_((label_P, bin_LB[label_P, row_P]), one_P, accumulate=True)
