"""How much is worked on at a time, by how many threads.

Temporaries that stay in the processor's cache cost a third of others, and a block whose operations take much
longer than Python between them leaves other threads room. Blocks do not depend on the number of threads, so
neither do the sums.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import TypeVar, cast

import numpy as np
import torch
from torch import Tensor

# Two megabytes of float32: with half of it threads wait for Python more often, with twice as much for memory.
CELLS = 2**19

T = TypeVar("T")
R = TypeVar("R")


@cache
def _helpers(threads: int) -> ThreadPoolExecutor:
    """So many threads, kept: starting two takes .7 ms, which is as long as some of what they do."""
    return ThreadPoolExecutor(threads, thread_name_prefix="mlc-metrics")


def in_threads(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Call a function for each item, with torch's number of threads; results in the order of the items.

    None within torch's operations meanwhile, which are too small here to be worth waking others. The function
    had better be a few large operations: many small ones hold Python's lock, and who waits for it sleeps.
    """
    items = list(items)
    threads = min(torch.get_num_threads(), len(items))
    if threads < 2:
        return [function(item) for item in items]
    results: list[R | None] = [None] * len(items)
    waiting = iter(range(len(items)))  # whoever is free takes the next one

    @torch.no_grad()  # which each thread must be told
    def work() -> None:
        for index in waiting:
            results[index] = function(items[index])

    before = torch.get_num_threads()
    torch.set_num_threads(1)  # threads that begin now begin with this
    try:
        helpers = [_helpers(before - 1).submit(work) for _ in range(threads - 1)]
        try:
            work()
        finally:
            # One that has not begun has nothing left to do, and in a forked process it never will begin.
            begun = [helper for helper in helpers if not helper.cancel()]
            wait(begun)
        for helper in begun:
            helper.result()
    finally:
        torch.set_num_threads(before)
    return cast(list[R], results)


def slices(total: int, step: int) -> Iterator[slice]:
    """The range in steps; nothing is one empty slice, because no rows have the shapes of any others."""
    step = max(1, step)
    return (slice(start, start + step) for start in range(0, max(1, total), step))


def row_slices(values_BL: Tensor) -> Iterator[slice]:
    """Blocks of rows of CELLS entries; all rows on CUDA, which is fastest with much to do at a time."""
    rows, n_labels = values_BL.shape
    return slices(rows, CELLS // max(1, n_labels) if values_BL.is_cpu else rows)


def label_slices(values_BL: Tensor) -> Iterator[slice]:
    """The same of labels."""
    rows, n_labels = values_BL.shape
    return slices(n_labels, CELLS // max(1, rows) if values_BL.is_cpu else n_labels)


def places(mask_RC: Tensor) -> Tensor:
    """Where the matrix is True, as positions in the flattened matrix, in rising order."""
    if mask_RC.is_cpu:
        # NumPy skips what is False; torch visits each cell twice.
        return torch.from_numpy(np.flatnonzero(mask_RC.contiguous().numpy()))
    return mask_RC.flatten().nonzero().squeeze(1)


def above(values: Tensor, bound: float) -> Tensor:
    """Booleans that say which values are larger than the bound."""
    if values.is_cpu:
        # NumPy compares with vector instructions, which takes a third of torch's time.
        return torch.from_numpy(values.detach().numpy() > bound)
    return values > bound
