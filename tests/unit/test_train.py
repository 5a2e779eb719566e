"""What the door does around a run; tests/integration trains through it."""

import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from filelock import FileLock, Timeout

import mlc.train
from mlc.errors import Fault, UserError
from mlc.training.checkpoints import Checkpoints, Found
from mlc.training.interruption import stopping_before_training
from mlc.training.run import alone
from mlc.training.run_files import RunFiles
from tests.unit.experiment.shipped import config


def test_sigterm_before_training_says_that_the_same_command_may_be_started_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    reached = []

    def train(words: list[str]) -> None:
        reached.append(words)
        signal.raise_signal(signal.SIGTERM)
        reached.append(["it went on"])

    monkeypatch.setattr(mlc.train, "train", train)
    monkeypatch.setattr("sys.argv", ["mlc.train", "dataset=digits"])
    with pytest.raises(SystemExit) as end:
        mlc.train.main()
    assert end.value.code == 75
    assert reached == [["dataset=digits"]]
    said = capsys.readouterr().err
    assert said.startswith("stopped by SIGTERM outside training; ")
    assert said.count("\n") == 1
    assert signal.getsignal(signal.SIGTERM) == before


def test_afterwards_sigterm_means_what_it_did() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), stopping_before_training():  # noqa: PT012
        assert signal.getsignal(signal.SIGTERM) != before
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGTERM) == before


def test_where_another_process_is_gone_the_run_can_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(job: Any, *, found: Any) -> None:
        raise RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1234")

    monkeypatch.setattr(mlc.train, "run", run)
    said = "another process of this run is gone; go on with python -m mlc.train resume='my run'"
    with pytest.raises(Fault, match=f"^{said}$"):
        mlc.train._run(SimpleNamespace(folder="my run"), found=None)  # type: ignore[arg-type]


def test_checkpoints_are_looked_at_alone_because_damaged_ones_are_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def newest(checkpoints: Checkpoints) -> Found:
        with pytest.raises(Timeout):
            FileLock(RunFiles(tmp_path).lock).acquire(blocking=False)
        return Found(None, ("looked",))

    monkeypatch.setattr(Checkpoints, "newest", newest)
    assert mlc.train._newest(tmp_path).notes == ("looked",)
    with (  # and the lock is let go
        alone(RunFiles(tmp_path)),
        pytest.raises(UserError, match=r"another process is training in .*: wait for it"),
    ):
        mlc.train._newest(tmp_path)
    assert mlc.train._newest(tmp_path).notes == ("looked",)


CHECKPOINTS = {"checkpoint_pause_s": 1e-5, "checkpoint_every_steps": 7, "checkpoint_every_minutes": None}


def test_the_same_command_goes_on_with_the_run_of_an_older_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One without the options that have come since; other limits and other times of checkpoints are taken."""
    resumed: list[Any] = []
    monkeypatch.setattr(mlc.train, "_resume", lambda *asked: resumed.append(asked))
    new, old = config(), config()
    for key in ("checkpoint_pause_s", "label_shards"):
        del old["trainer"][key]
    RunFiles(tmp_path).config.write_text(yaml.safe_dump(old))
    mlc.train.start_or_resume(new, tmp_path)
    assert resumed.pop() == (tmp_path, {})
    new["trainer"] |= CHECKPOINTS
    mlc.train.start_or_resume(new, tmp_path)
    assert resumed.pop() == (tmp_path, {f"trainer.{key}": value for key, value in CHECKPOINTS.items()})
    new["trainer"]["batch_size"] += 1
    with pytest.raises(UserError, match=r"holds a run with another trainer\.batch_size: name another"):
        mlc.train.start_or_resume(new, tmp_path)


def test_other_times_of_checkpoints_may_be_given_beside_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    RunFiles(tmp_path).config.write_text(yaml.safe_dump(config()))
    seen: list[Any] = []
    monkeypatch.setattr(mlc.train, "_newest", lambda _: Found(None, ()))
    monkeypatch.setattr(mlc.train, "make_job", lambda recipe, *_, **__: seen.append(recipe.settings))
    monkeypatch.setattr(mlc.train, "_run", lambda *_, **__: None)
    words = [f"trainer.{key}={yaml.safe_dump(value).split()[0]}" for key, value in CHECKPOINTS.items()]
    mlc.train.resume(tmp_path, words)
    assert vars(seen.pop()).items() >= CHECKPOINTS.items()
    with pytest.raises(UserError, match=r"keep_last=5 cannot be changed"):
        mlc.train.resume(tmp_path, ["trainer.keep_last=5"])
