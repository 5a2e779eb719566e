"""resume=auto: the same command starts a run, goes on with it, and leaves it alone once it is finished."""

from pathlib import Path

import pytest

from tests.integration.doors import Doors, contents, results
from tests.integration.test_resume import SAVE, Killed, assert_same_end, kill_at
from tests.integration.tiny_mulan import mulan


def test_the_same_command_starts_goes_on_and_ends(
    doors: Doors, tiny: Path, no_figures: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert doors.train(*mulan("undisturbed", "trainer.checkpoint_every_steps=1"), "resume=auto").code == 0
    words = (*mulan("run", "trainer.checkpoint_every_steps=1"), "resume=auto")
    revive = kill_at(monkeypatch, SAVE, call=5)
    with pytest.raises(Killed):
        doors.train(*words)
    revive()
    outcome = doors.train(*words)
    assert (outcome.code, outcome.err) == (0, "")
    assert "resumed after epoch 0 and 3 batches, step 3" in outcome.out
    assert_same_end(Path("run"), Path("undisturbed"))
    before = contents(Path("run"))
    outcome = doors.train(*words)
    assert (outcome.code, outcome.err) == (0, "")
    assert "is finished" in outcome.out
    assert contents(Path("run")) == before


def test_it_takes_more_epochs_and_nothing_else_that_is_new(doors: Doors, run: Path) -> None:
    before = contents(run)
    for word, named in (("head=softmax", "head"), ("optimizer.lr=0.1", "optimizer.lr"), ("seed=1", "seed")):
        outcome = doors.train(*mulan("run", word), "resume=auto")
        assert outcome.code == 2
        assert "run holds a run with another " in outcome.err
        assert named in outcome.err
        assert contents(run) == before
    outcome = doors.train(*mulan("run"), "trainer.max_epochs=3", "resume=auto")
    assert (outcome.code, outcome.err) == (0, "")
    assert results(run)["run"]["epochs"] == 3


def test_it_needs_a_folder_that_has_a_name(doors: Doors, tiny: Path) -> None:
    words = [word for word in mulan("run") if not word.startswith("hydra.run.dir")]
    outcome = doors.train(*words, "resume=auto")
    assert outcome.code == 2
    assert "resume=auto" in outcome.err
    assert "hydra.run.dir=<folder>" in outcome.err
    assert sorted(path.name for path in Path().iterdir()) == ["data"]


def test_a_sweep_goes_on_where_it_was_cut(
    doors: Doors, tiny: Path, no_figures: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [word for word in mulan("run") if not word.startswith("hydra.run.dir")]
    words += ["-m", "seed=0,1", "hydra.sweep.dir=sweep", "trainer.max_epochs=1", "resume=auto"]
    revive = kill_at(monkeypatch, SAVE, call=6)  # in the second job
    with pytest.raises(Killed):
        doors.train(*words)
    revive()
    outcome = doors.train(*words)
    assert (outcome.code, outcome.err) == (0, "")
    first, second = sorted(path for path in Path("sweep").iterdir() if path.is_dir())
    assert f"{first} is finished" in outcome.out
    assert results(second)["run"]["seed"] == 1
