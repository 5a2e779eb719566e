"""Kill, starve and damage runs, and see that every one of them ends as if nothing had happened.

    python scripts/fault_drill.py                # all of it, some minutes on one core
    python scripts/fault_drill.py --quick        # a few of each kind

Each run trains a small table and writes a checkpoint after every step. It is compared bit for bit with an
undisturbed one: weights, calibrator, thresholds and metrics. Kinds of trouble:
    kill      SIGKILL at a random moment after the first checkpoint, once to three times; some in a write
    term      SIGTERM at a random moment: the process must end within 5 s, with exit code 75
    disk      no file may grow beyond a random size (RLIMIT_FSIZE): one sentence, exit code 1, then more room
    flip      a random bit of a random checkpoint is flipped, or the file is cut, before the run goes on
"""

import argparse
import contextlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mlc.experiment.command_line import RESUME_ME, exit_code
from mlc.train import train
from mlc.training.checkpoint import load_checkpoint

HEADS = ("sigmoid", "softmax", "factorised", "classifier_chain", "conditional_bernoulli", "label_networks")
_WITHIN_S = 5.0


@dataclass(frozen=True)
class Ending:
    """How a process ended: exit code (negative: the signal), seconds, and what it wrote to standard error."""

    code: int
    time_s: float
    err: str


class Drill:
    """One folder with a table, the undisturbed runs, and what became of the others."""

    def __init__(self, folder: Path, *, seed: int, heads: Sequence[str], within_s: float):
        self._folder = folder
        self._within_s = within_s
        self._random = random.Random(seed)
        self._heads = heads
        self._undisturbed: dict[str, tuple[bytes, float]] = {}
        self.failures: list[str] = []
        self.counts: Counter[str] = Counter()
        write_table(folder / "table.csv")

    def words(self, head: str, folder: Path) -> list[str]:
        """The command line of a run."""
        return [
            *("dataset=table", f"dataset.path={self._folder / 'table.csv'}", "dataset.labels=[l0,l1,l2,l3]"),
            *(f"head={head}", "backbone=mlp", "backbone.widths=[16]", "backbone.dropout=0.3", "seed=1"),
            *("trainer=table", "trainer.max_epochs=4", "trainer.patience=null", "trainer.batch_size=16"),
            *("trainer.checkpoint_every_steps=1", "trainer.ema_decay=0.9", "trainer.keep_best=2"),
            *(
                "trainer.checkpoint_pause_s=0",
                "schedule=plateau",
                "schedule.patience=1",
                f"hydra.run.dir={folder}",
            ),
        ]

    def undisturbed(self, head: str) -> tuple[bytes, float]:
        """What the undisturbed run leaves, and how long it takes; it runs twice, which must agree."""
        if head not in self._undisturbed:
            found = []
            for name in ("first", "second"):
                folder = self._folder / f"undisturbed_{head}_{name}"
                ending = run(self.words(head, folder))
                if ending.code != 0:
                    raise SystemExit(f"the undisturbed run of {head} ended with {ending.code}: {ending.err}")
                found.append((outcome(folder), ending.time_s))
            if found[0][0] != found[1][0]:
                raise SystemExit(f"two undisturbed runs of {head} differ: nothing can be compared with them")
            self._undisturbed[head] = found[1]
        return self._undisturbed[head]

    def each(self, kind: str, times: int, one: Callable[[str, Path, int], str]) -> None:
        """Do one kind of trouble `times` times, over all heads in turn."""
        for i in range(times):
            head = self._heads[i % len(self._heads)]
            expected, _ = self.undisturbed(head)
            folder = self._folder / f"{kind}_{i}"
            problem = one(head, folder, i) or self._finish(head, folder, expected)
            self.counts[kind] += 1
            if problem:
                self.failures.append(f"{kind} {i} ({head}): {problem}")
                print(f"  FAILED {self.failures[-1]}  ({folder} is kept)", flush=True)
            else:
                shutil.rmtree(folder, ignore_errors=True)
        failed = sum(failure.startswith(kind) for failure in self.failures)
        print(f"{kind}: {self.counts[kind]} runs, {failed} failed", flush=True)

    def kill(self, head: str, folder: Path, i: int) -> str:
        """SIGKILL once to three times."""
        return self._signal(
            head, folder, signal.SIGKILL, times=self._random.randint(1, 3), within_write=i % 3 == 0
        )

    def term(self, head: str, folder: Path, i: int) -> str:
        """SIGTERM once."""
        return self._signal(head, folder, signal.SIGTERM, times=1, within_write=False)

    def _signal(
        self, head: str, folder: Path, number: signal.Signals, *, times: int, within_write: bool
    ) -> str:
        _, time_s = self.undisturbed(head)
        for _ in range(times):
            process = start(self._again(head, folder))
            process.wait_for((folder / "config.yaml").exists)
            time.sleep(self._random.uniform(0, time_s))
            if within_write:
                process.wait_for(lambda: any(folder.rglob(".*.tmp")))
            asked_s = time.monotonic()
            process.send(number)
            ending = process.wait()
            ended = (folder / "results.json").exists()  # then only the process was there to end
            if ending.code == 0 or (ended and ending.code == -signal.SIGTERM):
                return ""  # it was faster
            if number == signal.SIGTERM and ending.code != RESUME_ME:
                return f"exit code {ending.code}: {ending.err}"
            if number == signal.SIGTERM and time.monotonic() - asked_s > self._within_s:
                return f"it took {time.monotonic() - asked_s:.1f} s to stop"
        return ""

    def disk(self, head: str, folder: Path, i: int) -> str:
        """No room for files above a random size."""
        largest = max(
            path.stat().st_size for path in (self._folder / f"undisturbed_{head}_first").rglob("*.*")
        )
        limit = int(self._random.uniform(0.02, 1.02) * largest)
        ending = run(self._again(head, folder), largest_file=limit)
        if ending.code == 0:
            return ""
        if ending.code != 1 or "Traceback" in ending.err or not ending.err.startswith("fault: "):
            return f"with files of at most {limit} bytes it ended with {ending.code}: {ending.err}"
        return ""

    def flip(self, head: str, folder: Path, i: int) -> str:
        """A damaged checkpoint."""
        _, time_s = self.undisturbed(head)
        process = start(self.words(head, folder))
        process.wait_for((folder / "config.yaml").exists)
        time.sleep(self._random.uniform(0.2, 0.8) * time_s)
        process.send(signal.SIGKILL)
        process.wait()
        paths = sorted((folder / "checkpoints").glob("*.safetensors"))
        damage(self._random.choice(paths), self._random)
        return ""

    def _again(self, head: str, folder: Path) -> list[str]:
        """The command line that goes on, or starts where there is nothing to go on from."""
        return [*self.words(head, folder), "resume=auto"]

    def _finish(self, head: str, folder: Path, expected: bytes) -> str:
        ending = run(self._again(head, folder))
        if ending.code != 0:
            return f"resume ended with {ending.code}: {ending.err}"
        return "" if outcome(folder) == expected else "it ended otherwise than the undisturbed run"


def write_table(path: Path) -> None:
    """240 rows, 8 numbers, 4 labels that depend on them."""
    draw = np.random.default_rng(0)
    x_ND = draw.normal(size=(240, 8))
    y_NL = (x_ND @ draw.normal(size=(8, 4)) + draw.normal(size=(240, 4)) > 0.5).astype(int)
    names = [f"x{i}" for i in range(8)] + [f"l{i}" for i in range(4)]
    rows = [",".join([*(f"{x:.4f}" for x in xs), *map(str, ys)]) for xs, ys in zip(x_ND, y_NL, strict=True)]
    path.write_text("\n".join([",".join(names), *rows]) + "\n", encoding="utf-8")


def outcome(folder: Path) -> bytes:
    """All bits of the trained classifier, and the metrics."""
    parts = load_checkpoint(folder / "classifier.safetensors")["parts"]
    bits = [
        (part, name, value.numpy().tobytes())
        for part, state in sorted(parts.items())
        for name, value in sorted(state.items())
    ]
    splits = json.loads((folder / "results.json").read_text(encoding="utf-8"))["splits"]
    return repr((bits, json.dumps(splits, sort_keys=True))).encode()


def damage(path: Path, draw: random.Random) -> None:
    """Flip one bit of a file, or cut it."""
    data = bytearray(path.read_bytes())
    if draw.random() < 0.25:
        data = data[: draw.randrange(len(data))]
    else:
        place = draw.randrange(len(data))
        data[place] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


@dataclass
class Process:
    """A run in a process of its own, forked from this one so that nothing is imported twice."""

    pid: int
    err: Path
    since_s: float
    ending: Ending | None = None

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        if not self.ended():
            os.kill(self.pid, number)

    def ended(self) -> bool:
        """Whether it has ended."""
        if self.ending is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._note(pid, status)
        return self.ending is not None

    def wait(self) -> Ending:
        """Wait for its end."""
        if self.ending is None:
            self._note(*os.waitpid(self.pid, 0))
        assert self.ending is not None
        return self.ending

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds, or the process has ended."""
        while not condition() and not self.ended():
            time.sleep(0.0005)

    def _note(self, pid: int, status: int) -> None:
        if pid:
            code = os.waitstatus_to_exitcode(status)
            text = self.err.read_text(encoding="utf-8", errors="replace").strip()
            self.ending = Ending(code, time.monotonic() - self.since_s, text)
            self.err.unlink()


def start(words: Sequence[str], *, largest_file: int | None = None) -> Process:
    """Start `python -m mlc.train <words>`."""
    descriptor, err = tempfile.mkstemp(suffix=".err")
    os.close(descriptor)
    since_s = time.monotonic()
    pid = os.fork()
    if pid:
        return Process(pid, Path(err), since_s)
    code = 1
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(os.open(err, os.O_WRONLY), 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        sys.argv = ["mlc.train"]
        if largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
        code = exit_code(lambda: train(words))
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stderr.flush()
        os._exit(code)


def run(words: Sequence[str], *, largest_file: int | None = None) -> Ending:
    """Run `python -m mlc.train <words>` to its end."""
    return start(words, largest_file=largest_file).wait()


def drill(
    folder: Path,
    *,
    seed: int,
    times: dict[str, int],
    heads: Sequence[str] = HEADS,
    within_s: float = _WITHIN_S,
) -> list[str]:
    """Do each kind of trouble so many times; the failures, as sentences.

    Args:
        folder: where the runs go.
        seed: of the moments, sizes and bits.
        times: of each kind.
        heads: in turn.
        within_s: a process must have ended so soon after SIGTERM.
    """
    torch.set_num_threads(1)  # a fork keeps no other threads
    one = Drill(folder, seed=seed, heads=heads, within_s=within_s)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        train(one.words(heads[0], folder / "warm_up"))  # imports here what every fork would import again
    for kind, count in times.items():
        one.each(kind, count, getattr(one, kind))
    return one.failures


def main() -> None:
    """The command-line door."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a few of each kind")
    parser.add_argument("--seed", type=int, default=0, help="of the moments, sizes and bits")
    parser.add_argument(
        "--folder", type=Path, help="where the runs go; the default is a new temporary folder"
    )
    options = parser.parse_args()
    folder = (options.folder or Path(tempfile.mkdtemp(prefix="fault_drill_"))).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    times = {"kill": 50, "term": 20, "disk": 20, "flip": 100}
    if options.quick:
        times = dict.fromkeys(times, 3)
    failures = drill(folder, seed=options.seed, times=times)
    print("\n  ".join([f"{len(failures)} of {sum(times.values())} failed", *failures]))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
