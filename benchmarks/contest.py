"""Contenders that take turns: each a process of its own, only one of them running at any time."""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from benchmarks.workloads import Workload

ROOT = Path(__file__).resolve().parent.parent
_SILENT_S = 600
PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"


@dataclass(frozen=True)
class Way:
    """One way to train.

    Args:
        name: in the tables.
        module: of `benchmarks.ways`.
        words: more words for its command line.
        peer: whether it runs in the environment of the peers.
    """

    name: str
    module: str
    words: tuple[str, ...] = ()
    peer: bool = False


BARE = Way("bare", "bare")
BARE_BF16 = Way("bare, bf16", "bare", ("bf16",))
LOADER = Way("bare + DataLoader", "bare", ("loader",))
MLC = Way("mlc", "mlc_loop")
MLC_AUTO = Way("mlc, precision=auto", "mlc_loop", ("trainer.precision=auto",))
PEERS = (
    Way("Lightning", "lightning_loop", peer=True),
    Way("Keras 3 on torch", "keras_loop", peer=True),
    Way("skorch", "skorch_loop", peer=True),
    Way("transformers Trainer", "trainer_loop", peer=True),
)


@dataclass(frozen=True)
class Setting:
    """Where all of this runs.

    Args:
        data: folder of the workloads' tensors.
        device: "cpu" or "cuda".
        threads: of each process.
    """

    data: Path
    device: str
    threads: int

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a contender's process."""
        return {
            **os.environ,
            "OMP_NUM_THREADS": str(self.threads),
            "MLC_OFFLINE": "1",
            "KERAS_BACKEND": "torch",
            **(
                {"CUDA_VISIBLE_DEVICES": ""} if self.device == "cpu" else {}
            ),  # Keras would take one that is there
        }


class ContenderFailedError(Exception):
    """A contender ended early; the message is the end of what it printed."""


class Contender:
    """A running process of one way; a context manager."""

    def __init__(self, way: Way, workload: Workload, setting: Setting):
        self._scratch = tempfile.TemporaryDirectory(prefix="mlc-benchmark-")
        scratch = Path(self._scratch.name)
        python = str(PEERS_PYTHON) if way.peer else sys.executable
        words = [workload.name, str(setting.data), str(scratch / "run"), setting.device, *way.words]
        self._way = way
        self._log = scratch / "log"
        self._start_s = time.monotonic()
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [python, "-W", "ignore", "-m", f"benchmarks.ways.{way.module}", *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=ROOT,
                env=setting.environment,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._scratch.cleanup()

    def first_step_s(self) -> float:
        """Seconds from the start of the process to the end of its first step; waits for it."""
        return float(self._hear()["first_step_s"]) - self._start_s

    def peak_mb(self) -> float:
        """The largest resident memory until now; waits until the contender is ready for a turn."""
        return float(self._hear()["peak_mb"])

    def turn(self) -> dict[str, float]:
        """One turn of steps: rows per second, steady and with the ends of epochs; then `peak_mb` follows."""
        assert self._process.stdin is not None, "it is a pipe"
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return self._hear()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None, "it is a pipe"
        too_long = threading.Timer(_SILENT_S, self._process.kill)
        too_long.start()
        line = self._process.stdout.readline()
        too_long.cancel()
        if not line:
            ending = " ".join(self._log.read_text().split())[-300:]
            raise ContenderFailedError(f"{self._way.name} ended early: {ending}")
        message: dict[str, Any] = json.loads(line)
        return message


@dataclass
class Outcome:
    """What one way did, round by round.

    Args:
        steady: rows per second in training steps.
        whole: rows per second with validation, logging and checkpoints between the epochs.
        cpu: rows per second of processor time, in training steps.
        peak_mb: largest resident memory at the end.
    """

    steady: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    peak_mb: list[float] = field(default_factory=list)


def contest(
    ways: Sequence[Way], workload: Workload, setting: Setting, *, rounds: int
) -> tuple[dict[str, Outcome], dict[str, str]]:
    """Start every way, and let them take turns.

    Returns:
        What each way did, and why those that are not among them failed.
    """
    outcomes: dict[str, Outcome] = {}
    failed: dict[str, str] = {}
    with ExitStack() as stack:
        running: dict[str, Contender] = {}
        for way in ways:
            try:
                contender = stack.enter_context(Contender(way, workload, setting))
                contender.first_step_s()
                contender.peak_mb()
            except ContenderFailedError as error:
                failed[way.name] = str(error)
            else:
                running[way.name], outcomes[way.name] = contender, Outcome()
        for number in range(rounds):
            # Forwards and backwards in turn, so that none always follows the same neighbour.
            for name in list(running)[:: 1 if number % 2 == 0 else -1]:
                try:
                    _take(running[name], outcomes[name])
                except ContenderFailedError as error:
                    failed[name] = str(error)
                    del running[name], outcomes[name]
    return outcomes, failed


def _take(contender: Contender, outcome: Outcome) -> None:
    taken = contender.turn()
    outcome.steady.append(taken["steady_per_s"])
    outcome.whole.append(taken["whole_per_s"])
    outcome.cpu.append(taken["steady_per_cpu_s"])
    outcome.peak_mb = [contender.peak_mb()]


def first_steps(
    ways: Sequence[Way], workload: Workload, setting: Setting, *, rounds: int
) -> Mapping[str, list[float]]:
    """Seconds from process start to the end of the first step, way after way in each round."""
    taken: dict[str, list[float]] = {way.name: [] for way in ways}
    for _ in range(rounds):
        for way in ways:
            with Contender(way, workload, setting) as contender:
                taken[way.name].append(contender.first_step_s())
    return taken
