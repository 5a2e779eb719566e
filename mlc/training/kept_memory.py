"""Memory that the process keeps while it trains, where the C library would give it back in every step."""

import ctypes
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # parameters of mallopt, as malloc.h of glibc has them
_NEVER = 2**31 - 1  # bytes at the end of the heap from which on they are given back
_USUAL_TRIM, _USUAL_MAPPED = 2**26, 65_536  # what glibc itself comes to where tensors are large

_EVERY_S = 10.0  # giving back costs the page faults once more


@dataclass
class _Kept:
    """That memory is kept, by which library, and when what was free was last given back."""

    library: ctypes.CDLL
    given_back_s: float


_kept: list[_Kept] = []  # one at a time


@contextmanager
def kept_memory() -> Iterator[None]:
    """Within the block, memory that is freed stays with the process, for the next tensor of its size.

    glibc maps every piece of more than 32 MB apart and unmaps it when it is freed, and it gives back the end
    of its heap. What is made anew in each step (gradients, activations) then costs a page fault for every
    4 kB, which can be as much as computing it (docs/performance.md). What is kept does not always fit the
    next tensor, so that the process grows, by up to a half where it was measured: `give_back` bounds that.
    After the block all that is free goes back.

    Nothing is done elsewhere than with glibc, nor where its variables are set (MALLOC_..., GLIBC_TUNABLES):
    then somebody has decided on it.
    """
    library = _glibc()
    if library is None:
        yield
        return
    library.mallopt(_MMAP_MAX, 0)
    library.mallopt(_TRIM_THRESHOLD, _NEVER)
    _kept.append(_Kept(library, time.monotonic()))
    try:
        yield
    finally:
        _kept.pop()
        library.mallopt(_MMAP_MAX, _USUAL_MAPPED)
        library.mallopt(_TRIM_THRESHOLD, _USUAL_TRIM)
        library.malloc_trim(0)


def give_back() -> None:
    """Give back what is free, where memory is kept and that was not done a few seconds ago."""
    now_s = time.monotonic()
    for kept in _kept:
        if now_s - kept.given_back_s >= _EVERY_S:
            kept.given_back_s = now_s
            kept.library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """The C library of this process, if it is glibc and nobody has set how it keeps memory."""
    if not sys.platform.startswith("linux"):
        return None
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None
