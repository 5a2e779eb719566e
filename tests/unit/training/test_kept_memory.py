import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mlc.training import kept_memory
from tests.unit.training import kept_memory_work as work

CHECKOUT = Path(__file__).parents[3]
GLIBC = platform.libc_ver()[0] == "glibc"
FREE = {name: text for name, text in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_TUNABLES"))}


def ending(name: str, environment: dict[str, str]) -> tuple[str, int, str]:
    """How a function of kept_memory_work ends in a new process."""
    ended = subprocess.run(
        [sys.executable, "-m", work.__name__, name],
        env=environment,
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    return name, ended.returncode, ended.stderr[-1000:]


@pytest.mark.skipif(not GLIBC, reason="this system has no glibc")
def test_in_processes_of_their_own() -> None:
    asked = {
        work.freed_memory_is_used_again_and_given_back_after_the_block: FREE,
        work.what_is_free_goes_back_after_a_measurement_but_not_each_time: FREE,
        work.an_error_ends_it_too: FREE,
        work.labels_in_chunks_keep_nothing: FREE,
        work.where_somebody_has_decided_nothing_is_done: FREE | {"MALLOC_TRIM_THRESHOLD_": "1000"},
    }
    with ThreadPoolExecutor(2) as pool:
        endings = list(pool.map(ending, [function.__name__ for function in asked], asked.values()))
    assert endings == [(name, 0, "") for name, _, _ in endings]


def test_without_glibc_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with kept_memory.kept_memory():
        assert kept_memory._kept == []
