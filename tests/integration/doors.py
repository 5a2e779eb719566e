"""Calling the doors as a user does: in this process where that will do, as a program where it must."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

import mlc
import mlc.evaluate
import mlc.options
import mlc.predict
import mlc.train
from mlc.experiment.command_line import exit_code
from tests.contract.grid import CONFIGS
from tests.integration.tiny_mulan import mulan

CHECKOUT = Path(mlc.__file__).parent.parent

# Pictures that come with scikit-learn, as few as train at all.
DIGITS = (
    "dataset.n_train=200",
    "dataset.n_test=50",
    "trainer.max_epochs=2",
    "trainer.device=cpu",
    "trainer.checkpoint_pause_s=0",
    "backbone.channels=[4,8]",
)


@dataclass(frozen=True)
class Outcome:
    """What a door leaves in the terminal."""

    code: int
    out: str
    err: str


def digits(folder: str, *words: str) -> list[str]:
    """The words of a run on few small pictures."""
    return [*DIGITS, f"hydra.run.dir={folder}", *words]


def small(folder: str, head: str, *words: str) -> list[str]:
    """The words of a small run with this head: on the written table where it can read tables."""
    if head == "label_attention":
        return digits(folder, f"head={head}", "head.width=8", "head.heads=2", *words)
    if head == "label_networks":  # brings a backbone without widths
        table = [word for word in mulan(folder) if not word.startswith("backbone.")]
        return [*table, f"head={head}", "head.widths=[8]", *words]
    return mulan(folder, f"head={head}", *words)


class Doors:
    """The doors, called in this process; each call gives what a shell would see."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def train(self, *words: str) -> Outcome:
        return self._open(mlc.train.train, words)

    def evaluate(self, *words: str) -> Outcome:
        return self._open(mlc.evaluate.evaluate, words)

    def predict(self, *words: str) -> Outcome:
        return self._open(mlc.predict.predict, words)

    def options(self, *words: str) -> Outcome:
        return self._open(mlc.options.options, words)

    def _open(self, door: Callable[[Sequence[str]], None], words: Sequence[str]) -> Outcome:
        self._capsys.readouterr()
        code = exit_code(lambda: door(words))
        captured = self._capsys.readouterr()
        return Outcome(code, captured.out, captured.err)


def program(*words: str, code: str | None = None, **environment: str) -> "subprocess.Popen[str]":
    """Start `python -m <words>`, or Python code that takes them as sys.argv, as a program of its own."""
    command = ["-m", *words] if code is None else ["-c", code, *words]
    return subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), **environment},
    )


def shipped(group: str) -> list[str]:
    """Names of the configs of a group, from their files."""
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


def results(folder: Path) -> dict[str, Any]:
    """What results.json says; strict, because JSON has no NaN."""
    found: dict[str, Any] = json.loads(
        (folder / "results.json").read_text(encoding="utf-8"), parse_constant=pytest.fail
    )
    return found


def config(folder: Path) -> dict[str, Any]:
    """The resolved config of a run."""
    found: dict[str, Any] = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    return found


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Time of change and bytes of every file below a folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}
