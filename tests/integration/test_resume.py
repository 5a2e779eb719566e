"""A run that was cut short ends exactly like one that was not."""

import importlib
import os
import shlex
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mlc.training.checkpoint import load_checkpoint
from tests.integration.doors import Doors, contents, digits, program, results
from tests.integration.tiny_mulan import mulan

# Dropout and a schedule that looks at the validation: both must come back as they were.
WORDS = (
    *("trainer.max_epochs=5", "backbone.dropout=0.4"),
    *("schedule=plateau", "schedule.patience=1", "optimizer.lr=0.3"),
)

# Kills itself while the last checkpoint of epoch 3 is half written: nothing else is as bad a moment.
KILL_WITHIN_A_WRITE = """
import os, signal, sys
import mlc.training.checkpoint as checkpoint
from mlc.train import train

save_file, saved = checkpoint.save_file, []

def cut(tensors, path, metadata):
    save_file(tensors, path, metadata=metadata)
    saved.append(path)
    if sum(path.name == ".last.safetensors.tmp" for path in saved) == 4:
        os.truncate(path, 100)
        os.kill(os.getpid(), signal.SIGKILL)

checkpoint.save_file = cut
train(sys.argv[1:])
"""


class Killed(BaseException):
    """What no door catches."""


def parts(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor of the trained classifier and, because that is the best network, of the last one too."""
    states = load_checkpoint(folder / "classifier.safetensors")["parts"]
    states["last"] = load_checkpoint(folder / "checkpoints" / "last.safetensors")["network"]
    return {f"{part}.{name}": tensor for part, state in states.items() for name, tensor in state.items()}


def assert_same_end(folder: Path, undisturbed: Path) -> None:
    found, expected = parts(folder), parts(undisturbed)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
    assert results(folder)["splits"] == results(undisturbed)["splits"]
    for key in ("epochs", "best_epoch", "rows", "choices"):
        assert results(folder)["run"][key] == results(undisturbed)["run"][key]


def assert_no_point_is_doubled(folder: Path, undisturbed: Path) -> None:
    found, expected = _points(folder), _points(undisturbed)
    assert found == expected
    assert set(found.values()) == {1}


def _points(folder: Path) -> Counter[tuple[str, int]]:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return Counter((tag, point.step) for tag in events.Tags()["scalars"] for point in events.Scalars(tag))


@pytest.fixture
def undisturbed(doors: Doors, tiny: Path, no_figures: None) -> Path:
    assert doors.train(*mulan("undisturbed", *WORDS)).code == 0
    state = load_checkpoint(Path("undisturbed/checkpoints/last.safetensors"))["schedule"]
    assert state["cuts"] > 0, "without a cut the schedule has nothing to forget"
    return Path("undisturbed")


def kill_at(monkeypatch: pytest.MonkeyPatch, place: str, *, call: int) -> Callable[[], None]:
    """Let the n-th call of a function of the package end in a kill, after it has done its work."""
    module, _, name = place.rpartition(".")
    calls = 0
    function = getattr(importlib.import_module(module), name)

    def killed(*args: object, **kwargs: object) -> object:
        nonlocal calls
        value = function(*args, **kwargs)
        calls += 1
        if calls == call:
            raise Killed
        return value

    monkeypatch.setattr(place, killed)
    return lambda: monkeypatch.setattr(place, function)


@pytest.mark.parametrize(
    ("place", "call"),
    [
        ("mlc.training.run.atomic_write_text", 1),  # before the first step
        ("mlc.training.run.save_checkpoint", 3),  # epoch 1: best is newer than last
        ("mlc.training.run.save_checkpoint", 4),
        ("mlc.training.run._save", 4),
        ("mlc.training.loop.objective", 8),  # within epoch 2
        ("mlc.training.finish.save_classifier", 1),
        ("mlc.training.finish.write_per_label_csv", 1),
    ],
)
def test_killed_anywhere(
    doors: Doors, undisturbed: Path, monkeypatch: pytest.MonkeyPatch, place: str, call: int
) -> None:
    revive = kill_at(monkeypatch, place, call=call)
    with pytest.raises(Killed):
        doors.train(*mulan("run", *WORDS))
    revive()
    outcome = doors.train("resume=run")
    assert (outcome.code, outcome.err) == (0, "")
    assert "resumed after epoch" in outcome.out
    assert_same_end(Path("run"), undisturbed)
    assert_no_point_is_doubled(Path("run"), undisturbed)


@pytest.mark.parametrize("call", [1, 2])
def test_killed_before_there_is_anything_to_resume(
    doors: Doors, undisturbed: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    revive = kill_at(monkeypatch, "mlc.training.run.save_checkpoint", call=call)
    with pytest.raises(Killed):
        doors.train(*mulan("run", *WORDS))
    revive()
    assert "is no run" in doors.train("resume=run").err
    assert doors.train(*mulan("run", *WORDS)).code == 0, "the same command must start it again"
    assert_same_end(Path("run"), undisturbed)


def test_killed_twice(doors: Doors, undisturbed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for words, call in ((mulan("run", *WORDS), 2), (["resume=run"], 2)):
        revive = kill_at(monkeypatch, "mlc.training.run._save", call=call)
        with pytest.raises(Killed):
            doors.train(*words)
        revive()
    assert doors.train("resume=run").code == 0
    assert_same_end(Path("run"), undisturbed)
    assert_no_point_is_doubled(Path("run"), undisturbed)


def test_sigkill_within_a_write(doors: Doors, undisturbed: Path) -> None:
    process = program(*mulan("run", *WORDS), code=KILL_WITHIN_A_WRITE)
    _, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, err
    assert Path("run/checkpoints/.last.safetensors.tmp").exists()
    assert not Path("run/results.json").exists()
    assert doors.train("resume=run").code == 0
    assert_same_end(Path("run"), undisturbed)
    assert_no_point_is_doubled(Path("run"), undisturbed)
    assert not list(Path("run").rglob(".*.tmp"))


def test_pictures_resume_exactly(doors: Doors, no_figures: None, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("head=factorised", "trainer.max_epochs=3")
    assert doors.train(*digits("undisturbed", *words)).code == 0
    revive = kill_at(monkeypatch, "mlc.training.run._save", call=2)
    with pytest.raises(Killed):
        doors.train(*digits("run", *words))
    revive()
    assert doors.train("resume=run").code == 0
    assert_same_end(Path("run"), Path("undisturbed"))


def test_a_moved_run_resumes(doors: Doors, undisturbed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    revive = kill_at(monkeypatch, "mlc.training.run._save", call=3)
    with pytest.raises(Killed):
        doors.train(*mulan("run", *WORDS))
    revive()
    shutil.move("run", "elsewhere")
    assert doors.train("resume=elsewhere").code == 0
    assert not Path("run").exists()
    assert_same_end(Path("elsewhere"), undisturbed)


def test_a_finished_run_is_left_alone(doors: Doors, run: Path) -> None:
    before = contents(run)
    outcome = doors.train("resume=run")
    assert (outcome.code, outcome.err) == (0, "")
    assert "is finished" in outcome.out
    assert "trainer.max_epochs=<more" in outcome.out
    assert contents(run) == before


def test_more_epochs_train_on(doors: Doors, run: Path) -> None:
    assert doors.train("resume=run", "trainer.max_epochs=4").code == 0
    assert results(run)["run"]["epochs"] == 4
    outcome = doors.train("resume=run")
    assert "is finished" in outcome.out, "the new number of epochs is the run's own now"


def test_old_results_do_not_pass_for_those_of_more_epochs(
    doors: Doors, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    revive = kill_at(monkeypatch, "mlc.training.finish.save_classifier", call=1)
    with pytest.raises(Killed):
        doors.train("resume=run", "trainer.max_epochs=4")
    revive()
    outcome = doors.train("resume=run")
    assert outcome.code == 0
    assert "is finished" not in outcome.out
    assert results(run)["run"]["epochs"] == 4


@pytest.mark.parametrize(
    "word",
    [
        "head=softmax",
        "optimizer.lr=0.1",
        "seed=1",
        "hydra.run.dir=other",
        "trainer.batch_size=8",
        "-m",
        "--cfg",
    ],
)
def test_any_other_change_is_refused(doors: Doors, run: Path, word: str) -> None:
    before = contents(run)
    outcome = doors.train("resume=run", word)
    assert outcome.code == 2
    assert word in outcome.err
    assert "trainer.max_epochs" in outcome.err
    assert contents(run) == before


def test_ctrl_c_says_how_to_go_on(doors: Doors, tiny: Path, no_figures: None, tmp_path: Path) -> None:
    words = mulan("'my run'", "trainer.max_epochs=100000", "trainer.patience=null")
    process = program("mlc.train", *words)
    assert process.stdout is not None
    while not (line := process.stdout.readline()).startswith("epoch 2 "):
        assert line, process.communicate()[1]
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.count("\n") == 1, err
    assert err.startswith("stopped; ")
    command = shlex.split(err.partition("python -m mlc.train ")[2])
    assert command == ["resume=my run"]
    outcome = doors.train(*command, "trainer.max_epochs=2")
    assert (outcome.code, outcome.err) == (0, "")
    assert results(Path("my run"))["run"]["epochs"] >= 2
