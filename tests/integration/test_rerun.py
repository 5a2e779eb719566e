"""A run is trained again from its folder alone, and its numbers come out again."""

import csv
import shutil
from pathlib import Path

import pytest
import torch

from mlc.training.run_files import RunFiles, load_facts
from tests.integration.doors import Doors, config, contents, digits, results
from tests.integration.test_bad_input import assert_sentence
from tests.integration.tiny_mulan import mulan

pytestmark = pytest.mark.usefixtures("no_figures")


def write_texts(path: Path) -> list[str]:
    """A table of texts of different lengths; the words of a run on it."""
    words = {"red": "warm", "blue": "cold", "purple": "warm|cold", "grey": ""}
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "labels"])
        for number in range(80):
            word = list(words)[number % 4]
            writer.writerow([f"the {word} {'very ' * (number % 7)}thing {number}", words[word]])
    return [
        *("dataset=table", f"dataset.path={path}", "dataset.text=text", "dataset.labels=labels"),
        *("dataset.label_delimiter=|", "trainer.device=cpu"),
    ]


def assert_same_end(folder: Path, expected: Path) -> None:
    """The same classifier, bit by bit, and the same numbers."""
    (_, found), (_, wanted) = (load_facts(RunFiles(run).classifier) for run in (folder, expected))
    assert {part: state.keys() for part, state in found.items()} == {p: s.keys() for p, s in wanted.items()}
    for part, state in wanted.items():
        for name, tensor in state.items():
            assert torch.equal(found[part][name], tensor), f"{part}.{name}"
    assert results(folder)["splits"] == results(expected)["splits"]


class Killed(BaseException):
    """What no door catches."""


def finish_never(monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object, **__: object) -> None:
        raise Killed

    monkeypatch.setattr("mlc.training.run.finish", killed)


def test_a_run_trained_again(doors: Doors, run: Path) -> None:
    before = contents(run)
    outcome = doors.train("rerun=run", "hydra.run.dir=again")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.endswith(" metrics equal those in run/results.json.\n")
    assert "Data, first weights, code, versions and machine are those of that run." in outcome.out
    again = Path("again")
    assert_same_end(again, run)
    assert config(again) == config(run)
    assert contents(run) == before
    then, now = results(run)["run"], results(again)["run"]
    for key in ("data", "initial_weights", "versions", "code", "machine", "seed"):
        assert now[key] == then[key], key
    assert now["earlier_sittings"] == []


@pytest.mark.parametrize("kind", ["rows drawn by label", "texts by length", "pictures", "linear"])
def test_all_that_is_random_comes_out_again(doors: Doors, tiny: Path, kind: str) -> None:
    texts = write_texts(Path("texts.csv"))
    words = {
        "rows drawn by label": [
            *mulan("run", "backbone.dropout=0.4", "trainer.sampling=class_aware"),
            "head=classifier_chain",
        ],
        "texts by length": [
            *(*texts, "backbone=gru", "backbone.width=8", "backbone.dropout=0.3", "trainer.batch_size=16"),
            *("trainer.max_epochs=2", "head=factorised", "hydra.run.dir=run"),
        ],
        "pictures": digits("run", "head=softmax", "dataset.n_train=100"),
        "linear": [*texts, "trainer=linear_baseline", "hydra.run.dir=run"],
    }[kind]
    assert doors.train(*words).err == ""
    outcome = doors.train("rerun=run", "hydra.run.dir=again")
    assert (outcome.code, outcome.err) == (0, "")
    assert "metrics equal those in run/results.json" in outcome.out
    assert_same_end(Path("again"), Path("run"))


def test_an_unfinished_run(doors: Doors, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        finish_never(patch)
        with pytest.raises(Killed):
            doors.train(*mulan("cut"))
    outcome = doors.train("rerun=cut", "hydra.run.dir=again")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.endswith("cut has not finished, so there are no numbers to compare with.\n")
    assert_same_end(Path("again"), run)


def test_changed_data_are_said_before_anything_is_trained(doors: Doors, run: Path, tiny: Path) -> None:
    header, _, rows = (tiny / "test.arff").read_text(encoding="utf-8").partition("@data\n")
    first, _, rest = rows.partition("\n")
    cells = first.split(",")
    cells[-1] = "01"[cells[-1] == "0"]
    (tiny / "test.arff").write_text(f"{header}@data\n{','.join(cells)}\n{rest}", encoding="utf-8")
    outcome = doors.train("rerun=run", "hydra.run.dir=again")
    assert outcome.code == 0
    said = outcome.out.index("The data are not those of run: other test rows.")
    assert said < outcome.out.index("epoch 1 ")
    *_, verdict = outcome.out.splitlines()
    assert "metrics differ from run/results.json, test " in verdict
    assert verdict.endswith("The data are not those of run: other test rows.")


def test_a_resumed_run_has_the_data_it_began_with(
    doors: Doors, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        finish_never(patch)
        with pytest.raises(Killed):
            doors.train(*mulan("run"))
    old = (tiny / "train.arff").read_text(encoding="utf-8")
    (tiny / "train.arff").write_text(old.rstrip("\n").rpartition("\n")[0] + "\n", encoding="utf-8")
    before = contents(Path("run") / "checkpoints")
    assert_sentence(doors.train("resume=run"), "data have changed since it began (training rows")
    assert contents(Path("run") / "checkpoints") == before
    (tiny / "train.arff").write_text(old, encoding="utf-8")
    assert doors.train("resume=run").code == 0
    assert len(results(Path("run"))["run"]["earlier_sittings"]) == 1


def test_the_backbone_of_another_run(doors: Doors, run: Path) -> None:
    assert doors.train(*mulan("second", "init_from=run", "head=softmax")).code == 0
    run.rename("moved")
    assert_sentence(
        doors.train("rerun=second", "hydra.run.dir=again"), "second began with the backbone of", "init_from="
    )
    outcome = doors.train("rerun=second", "hydra.run.dir=again", "init_from=moved")
    assert "metrics equal those in second/results.json" in outcome.out
    assert_same_end(Path("again"), Path("second"))


def test_data_that_have_moved(doors: Doors, tmp_path: Path) -> None:
    words = write_texts(Path("texts.csv"))
    assert doors.train(*words, "trainer=linear_baseline", "hydra.run.dir=run").code == 0
    Path("data").mkdir()
    shutil.move("texts.csv", "data/renamed.csv")
    assert_sentence(doors.train("rerun=run"), "texts.csv", "give dataset.path=<new place>")
    outcome = doors.train("rerun=run", "dataset.path=data/renamed.csv", "hydra.run.dir=again")
    assert "metrics equal those in run/results.json" in outcome.out


def test_mistakes(doors: Doors, run: Path) -> None:
    before = contents(Path.cwd())
    assert_sentence(doors.train("rerun=run", "hydra.run.dir=run"), "already holds a run")
    assert_sentence(doors.train("rerun=run", "resume=run"), "rerun= and resume= are both given")
    assert_sentence(doors.train("rerun=nowhere"), "rerun=nowhere is no folder")
    assert_sentence(doors.train("rerun=run", "trainer.max_epochs=1"), "cannot be changed in a rerun")
    assert contents(Path.cwd()) == before
