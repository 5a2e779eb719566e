import contextlib
import platform
import resource
import sys
import time
from pathlib import Path

import pytest
import torch

from mlc.training.kept_memory import kept_memory
from mlc.training.numerics import measuring, numerics
from tests.unit.training import tiny

NUMBERS = 2**24  # of 64 MB: above what glibc keeps by itself
PAGES = NUMBERS * 4 // 4096

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this system has no glibc")


@pytest.fixture(autouse=True)
def _nobody_has_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GLIBC_TUNABLES", "MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"):
        monkeypatch.delenv(name, raising=False)


def faults() -> int:
    """The fewest page faults of a tensor, of some that are made and freed."""
    counted = []
    for _ in range(8):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(NUMBERS)
        counted.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return min(counted)


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1])


@glibc
def test_freed_memory_is_used_again_and_given_back_after_the_block() -> None:
    before = resident()
    with kept_memory():
        assert faults() < PAGES / 10
        assert resident() > before + PAGES / 2
    assert resident() < before + PAGES / 2


@glibc
def test_what_is_free_goes_back_after_a_measurement_but_not_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before, now = resident(), [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with numerics(tiny.settings()):
        now[0] += 60
        with measuring():
            torch.ones(NUMBERS)
            assert resident() > before + PAGES / 2
        assert resident() < before + PAGES / 2
        now[0] += 1
        with measuring():
            torch.ones(NUMBERS)
        assert resident() > before + PAGES / 2
        now[0] += 60
        with measuring():
            pass
        assert resident() < before + PAGES / 2


@glibc
def test_an_error_ends_it_too() -> None:
    before = resident()
    with contextlib.suppress(ZeroDivisionError), kept_memory():
        torch.ones(NUMBERS)
        raise ZeroDivisionError
    assert resident() < before + PAGES / 2


@pytest.mark.parametrize("decided", ["environment", "system"])
def test_where_somebody_has_decided_or_there_is_no_glibc_nothing_is_done(
    decided: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if decided == "environment":
        monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000")
    else:
        monkeypatch.setattr(sys, "platform", "darwin")
    before = resident() if Path("/proc").exists() else 0
    with kept_memory():
        torch.ones(NUMBERS)
        assert not Path("/proc").exists() or resident() < before + PAGES / 2


def test_labels_in_chunks_keep_nothing() -> None:
    before = resident() if Path("/proc").exists() else 0
    with numerics(tiny.settings(label_chunk="auto")):
        torch.ones(NUMBERS)
        assert not Path("/proc").exists() or resident() < before + PAGES / 2
