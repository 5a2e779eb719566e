"""A run that was cut short ends exactly like one that was not."""

import importlib
import shlex
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import mlc.train
from mlc.training import interruption
from mlc.training.checkpoint import load_checkpoint
from mlc.training.checkpoints import Checkpoints
from tests.integration.doors import Doors, contents, digits, program, results
from tests.integration.tiny_mulan import mulan, write_mulan

# Dropout and a schedule that looks at the validation: both must come back as they were. An epoch has 5 steps.
WORDS = (
    *("trainer.max_epochs=5", "backbone.dropout=0.4", "trainer.checkpoint_every_steps=1"),
    *("schedule=plateau", "schedule.patience=1", "optimizer.lr=0.3"),
)

# Kills itself while the checkpoint of a step is half written: nothing else is as bad a moment.
KILL_WITHIN_A_WRITE = """
import os, signal, sys
import mlc.training.checkpoint as checkpoint
from mlc.train import train

save_file, step = checkpoint.save_file, int(sys.argv[1])

def cut(tensors, path, metadata):
    save_file(tensors, path, metadata=metadata)
    if path.name == f".step_{step:012}.safetensors.tmp":
        os.truncate(path, 100)
        os.kill(os.getpid(), signal.SIGKILL)

checkpoint.save_file = cut
train(sys.argv[2:])
"""


SAVE = "mlc.training.checkpoints.save_checkpoint"


class Killed(BaseException):
    """What no door catches."""


def newest(folder: Path) -> Mapping[str, Any]:
    """The newest state of a run."""
    state = Checkpoints(folder / "checkpoints").newest().state
    assert state is not None
    return state


def parts(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor of the trained classifier and, because that is the best network, of the last one too."""
    states = load_checkpoint(folder / "classifier.safetensors")["parts"]
    states["last"] = newest(folder)["network"]
    return {f"{part}.{name}": tensor for part, state in states.items() for name, tensor in state.items()}


def assert_same_end(folder: Path, undisturbed: Path) -> None:
    found, expected = parts(folder), parts(undisturbed)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
    assert results(folder)["splits"] == results(undisturbed)["splits"]
    for key in ("epochs", "steps", "best_epoch", "rows", "choices"):
        assert results(folder)["run"][key] == results(undisturbed)["run"][key]


def assert_no_point_is_doubled(folder: Path, undisturbed: Path) -> None:
    found, expected = _points(folder), _points(undisturbed)
    assert found == expected
    assert set(found.values()) == {1}


def _points(folder: Path) -> Counter[tuple[str, int]]:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return Counter((tag, point.step) for tag in events.Tags()["scalars"] for point in events.Scalars(tag))


@pytest.fixture(scope="module")
def _undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbs, made once."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLC_DATA", str(write_mulan(folder / "data").parent))
        patch.setenv("HYDRA_FULL_ERROR", "1")
        patch.setattr(sys, "argv", ["mlc.train"])
        patch.setattr("mlc.training.finish.draw_evaluation", lambda *_, **__: {})
        mlc.train.train(mulan("run", *WORDS))
    assert newest(folder / "run")["schedule"]["cuts"] > 0, "without a cut the schedule has nothing to forget"
    return folder / "run"


@pytest.fixture
def undisturbed(tiny: Path, no_figures: None, _undisturbed: Path) -> Path:
    return _undisturbed


def kill_at(
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    *,
    call: int,
    number: signal.Signals | None = None,
    times: int = 1,
) -> Callable[[], None]:
    """Let the n-th call of a function of the package end in a kill, or in signals, after its work is done."""
    module, _, name = place.rpartition(".")
    calls = 0
    function = getattr(importlib.import_module(module), name)

    def killed(*args: object, **kwargs: object) -> object:
        nonlocal calls
        value = function(*args, **kwargs)
        calls += 1
        if calls == call and number is None:
            raise Killed
        for _ in range(times if calls == call else 0):
            signal.raise_signal(number or signal.SIGTERM)
        return value

    monkeypatch.setattr(place, killed)
    return lambda: monkeypatch.setattr(place, function)


@pytest.mark.parametrize(
    ("place", "call"),
    [
        ("mlc.training.run.atomic_write_text", 1),  # before the first step
        (SAVE, 3),  # after the first step
        ("mlc.training.run.evaluate", 1),  # all its steps are done, and no epoch is
        (SAVE, 7),  # epoch 1: its network is kept, and no state knows it
        ("mlc.training.objective.objective", 8),  # within epoch 2, between two checkpoints
        (SAVE, 10),
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
    revive = kill_at(monkeypatch, SAVE, call=call)
    with pytest.raises(Killed):
        doors.train(*mulan("run", *WORDS))
    revive()
    assert "is no run" in doors.train("resume=run").err
    assert doors.train(*mulan("run", *WORDS)).code == 0, "the same command must start it again"
    assert_same_end(Path("run"), undisturbed)


def test_killed_twice(doors: Doors, undisturbed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for words, call in ((mulan("run", *WORDS), 5), (["resume=run"], 6)):
        revive = kill_at(monkeypatch, SAVE, call=call)
        with pytest.raises(Killed):
            doors.train(*words)
        revive()
    assert doors.train("resume=run").code == 0
    assert_same_end(Path("run"), undisturbed)
    assert_no_point_is_doubled(Path("run"), undisturbed)


def test_sigkill_within_a_write(doors: Doors, undisturbed: Path) -> None:
    process = program("12", *mulan("run", *WORDS), code=KILL_WITHIN_A_WRITE)  # the second step of epoch 3
    _, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, err
    assert Path("run/checkpoints/.step_000000000012.safetensors.tmp").exists()
    assert not Path("run/results.json").exists()
    outcome = doors.train("resume=run")
    assert outcome.code == 0
    assert "resumed after epoch 2 and 1 batches, step 11" in outcome.out
    assert_same_end(Path("run"), undisturbed)
    assert_no_point_is_doubled(Path("run"), undisturbed)
    assert not list(Path("run").rglob(".*.tmp"))


def test_pictures_resume_exactly(doors: Doors, no_figures: None, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("head=factorised", "trainer.max_epochs=3")
    assert doors.train(*digits("undisturbed", *words)).code == 0
    revive = kill_at(monkeypatch, SAVE, call=4)
    with pytest.raises(Killed):
        doors.train(*digits("run", *words))
    revive()
    assert doors.train("resume=run").code == 0
    assert_same_end(Path("run"), Path("undisturbed"))


def test_a_moved_run_resumes(doors: Doors, undisturbed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    revive = kill_at(monkeypatch, SAVE, call=9)
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


def started(*words: str) -> "subprocess.Popen[str]":
    """A training program that is past its second epoch."""
    process = program("mlc.train", *words)
    assert process.stdout is not None
    while not (line := process.stdout.readline()).startswith("epoch 2 "):
        assert line, process.communicate()[1]
    return process


def test_a_signal_stops_the_program_within_the_epoch_and_it_says_how_to_go_on(
    doors: Doors, undisturbed: Path
) -> None:
    long = ("trainer.max_epochs=100000", "trainer.patience=null", "trainer.checkpoint_every_steps=null")
    process = started(*mulan("'my run'", *long))
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 75
    assert err.count("\n") == 1, err
    assert err.startswith("stopped by SIGTERM; ")
    command = shlex.split(err.partition("python -m mlc.train ")[2])
    assert command == ["resume=my run"]
    state = newest(Path("my run"))["position"]
    assert f"epoch {state['epoch'] + 1} " not in Path("my run/train.log").read_text(encoding="utf-8")
    outcome = doors.train(*command, "trainer.max_epochs=2")
    assert (outcome.code, outcome.err) == (0, "")
    assert f"step {state['step']}" in outcome.out
    assert results(Path("my run"))["run"]["epochs"] >= 2


# Where a signal comes, by the n-th call of a function, and after how many steps of the run it must stop.
@pytest.mark.parametrize(
    ("place", "call", "stops_after"),
    [
        ("mlc.training.objective.objective", 8, 8),  # in a step: after it
        ("mlc.training.run.predict_split", 2, 10),  # in a validation: at once
        (SAVE, 7, 6),  # while the network of epoch 1 is kept: after the next step
        ("mlc.training.finish.evaluate", 1, 25),  # at the end: at once
    ],
)
def test_a_signal_anywhere_loses_nothing(
    doors: Doors, undisturbed: Path, monkeypatch: pytest.MonkeyPatch, place: str, call: int, stops_after: int
) -> None:
    revive = kill_at(monkeypatch, place, call=call, number=signal.SIGTERM)
    outcome = doors.train(*mulan("run", *WORDS))
    revive()
    assert (outcome.code, outcome.err.count("\n")) == (75, 1), outcome.err
    assert outcome.err.startswith("stopped by SIGTERM; go on with python -m mlc.train resume=run")
    assert newest(Path("run"))["position"]["step"] == stops_after
    assert not Path("run/results.json").exists()
    outcome = doors.train("resume=run")
    assert (outcome.code, outcome.err) == (0, "")
    assert_same_end(Path("run"), undisturbed)
    assert_no_point_is_doubled(Path("run"), undisturbed)


def test_a_second_signal_does_not_wait(
    doors: Doors, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interruption, "ECHO_S", 0.0)  # the second comes later than the first one's echo
    revive = kill_at(monkeypatch, "mlc.training.objective.objective", call=8, number=signal.SIGINT, times=2)
    outcome = doors.train(*mulan("run", *WORDS))
    revive()
    assert outcome.code == 130
    assert outcome.err == "stopped; go on with python -m mlc.train resume=run\n"
    assert doors.train("resume=run").code == 0
    assert_same_end(Path("run"), undisturbed)


# Damaged files.


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


def stopped_run(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> Checkpoints:
    """A run that has been killed in epoch 3, and its checkpoints."""
    revive = kill_at(monkeypatch, "mlc.training.objective.objective", call=13)
    with pytest.raises(Killed):
        doors.train(*mulan("run", *WORDS))
    revive()
    return Checkpoints(Path("run/checkpoints"))


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before_and_says_so(
    doors: Doors, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest_path, _ = stopped_run(doors, monkeypatch).states()
    damage(newest_path)
    outcome = doors.train("resume=run")
    assert (outcome.code, outcome.err) == (0, "")
    assert f"note: {newest_path} is damaged: it is now called {newest_path.name}.damaged" in outcome.out
    assert "resumed after epoch 2 and 1 batches, step 11" in outcome.out
    assert_same_end(Path("run"), undisturbed)
    assert_no_point_is_doubled(Path("run"), undisturbed)


@pytest.mark.parametrize("what", ["networks", "folder"])
def test_with_all_checkpoints_damaged_it_starts_again_to_the_same_end(
    doors: Doors, undisturbed: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    checkpoints = stopped_run(doors, monkeypatch)
    if what == "folder":
        shutil.rmtree(checkpoints.folder)
    else:
        for path in checkpoints.folder.glob("epoch_*"):
            damage(path)
    outcome = doors.train("resume=run")
    assert (outcome.code, outcome.err) == (0, "")
    assert "No whole checkpoint is left: the run starts again from its first step" in outcome.out
    assert_same_end(Path("run"), undisturbed)
    assert_no_point_is_doubled(Path("run"), undisturbed)


@pytest.mark.parametrize(
    ("name", "lost"),
    [("classifier.safetensors", False), ("classifier.safetensors", True), ("results.json", False)],
)
def test_what_a_finished_run_has_lost_is_made_again(doors: Doors, run: Path, name: str, lost: bool) -> None:
    before, expected = results(run)["splits"], parts(run)
    if lost:
        (run / name).unlink()
    elif name == "results.json":
        (run / name).write_text("{", encoding="utf-8")
    else:
        damage(run / name)
    outcome = doors.train("resume=run")
    assert (outcome.code, outcome.err) == (0, "")
    assert "is finished" not in outcome.out
    assert results(run)["splits"] == before
    assert all(torch.equal(tensor, expected[key]) for key, tensor in parts(run).items())
