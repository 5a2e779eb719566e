"""What test_kept_memory looks at, in a process of its own: how memory is kept belongs to the whole process.

Others must not have filled its heap, and torch must not work in several threads: each has a heap of its own.
"""

import contextlib
import resource
import sys
import time
from pathlib import Path

import torch

from mlc.training.kept_memory import kept_memory
from mlc.training.numerics import measuring, numerics
from tests.unit.training import tiny

NUMBERS = 2**24  # of 64 MB: above what glibc keeps by itself
PAGES = NUMBERS * 4 // 4096


def faults() -> int:
    """The fewest page faults of a tensor, of some that are made and freed."""
    counted = []
    for _ in range(8):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(NUMBERS)
        counted.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return min(counted)


def kept(before: int) -> bool:
    """Whether the memory of a tensor is there that was not there before."""
    return resident() > before + PAGES / 2


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1])


def freed_memory_is_used_again_and_given_back_after_the_block() -> None:
    before = resident()
    assert faults() > PAGES / 2, "it costs nothing here to begin with"
    with kept_memory():
        assert faults() < PAGES / 10
        assert kept(before)
    assert not kept(before)


def what_is_free_goes_back_after_a_measurement_but_not_each_time() -> None:
    before, now = resident(), [1000.0]
    clock, time.monotonic = time.monotonic, lambda: now[0]
    with numerics(tiny.settings()):
        now[0] += 60
        with measuring():
            torch.ones(NUMBERS)
            assert kept(before)
        assert not kept(before)
        now[0] += 1
        with measuring():
            torch.ones(NUMBERS)
        assert kept(before)
        now[0] += 60
        with measuring():
            pass
        assert not kept(before)
    time.monotonic = clock


def an_error_ends_it_too() -> None:
    before = resident()
    with contextlib.suppress(ZeroDivisionError), kept_memory():
        torch.ones(NUMBERS)
        raise ZeroDivisionError
    assert not kept(before)


def labels_in_chunks_keep_nothing() -> None:
    before = resident()
    with numerics(tiny.settings(label_chunk="auto")):
        torch.ones(NUMBERS)
        assert not kept(before)


def where_somebody_has_decided_nothing_is_done() -> None:
    before = resident()
    with kept_memory():
        torch.ones(NUMBERS)
        assert not kept(before)


if __name__ == "__main__":
    torch.set_num_threads(1)
    globals()[sys.argv[1]]()
