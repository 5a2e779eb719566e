"""What can be said about a rerun without training; tests/integration/test_rerun.py trains."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from mlc.errors import UserError
from mlc.experiment.rerun import Rerun, read_rerun
from mlc.training.provenance import Provenance, Sitting
from tests.unit.experiment.shipped import config

SITTING = Sitting(("-m", "mlc.train"), {"torch": "2"}, "aa", None, {"threads": 3, "device": "cpu"})
MADE_FROM = Provenance(0, {"train": "t", "test": "s"}, "w", (SITTING,))

WriteRun = Callable[..., Path]


@pytest.fixture
def write_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteRun:
    """Writes the folder of a run of the shipped defaults, with other options by `<group>__<option>`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLC_DATA", raising=False)

    def write(dataset: str = "table", **options: Any) -> Path:
        made = config(dataset=dataset)
        for name, value in options.items():
            group, _, option = name.rpartition("__")
            (made[group] if group else made)[option] = value
        Path("old").mkdir()
        Path("old/config.yaml").write_text(yaml.safe_dump(made))
        return Path("old")

    return write


def test_the_new_folder_is_named_as_runs_are(write_run: WriteRun) -> None:
    again = read_rerun(write_run("digits"), [])
    assert re.fullmatch(r"runs/\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_digits_sigmoid_rerun", str(again.folder))
    assert again.config == yaml.safe_load(Path("old/config.yaml").read_text())


def test_what_may_change(write_run: WriteRun) -> None:
    old = write_run(dataset__path="ads.csv", init_from="first")
    words = ["hydra.run.dir=a b", "trainer.device=cpu", "dataset.path=/x=y.csv", "init_from=second"]
    again = read_rerun(old, words)
    assert again.folder == Path("a b")
    assert again.config["trainer"]["device"] == "cpu"
    assert again.config["dataset"]["path"] == "/x=y.csv"
    assert again.config["init_from"] == "second"


def test_labels_that_were_dealt_out_to_processes_may_stay_in_one(write_run: WriteRun) -> None:
    old = write_run("digits", trainer__label_shards=True)
    assert read_rerun(old, []).config["trainer"]["label_shards"] is True
    assert read_rerun(old, ["trainer.label_shards=false"]).config["trainer"]["label_shards"] is False
    accepted = r"only hydra\.run\.dir=, trainer\.device= and trainer\.label_shards= are accepted"
    with pytest.raises(UserError, match=accepted):
        read_rerun(old, ["seed=1"])


@pytest.mark.parametrize(
    ("dataset", "options", "places"),
    [
        ("digits", {}, None),
        ("goemotions", {}, None),
        ("table", {"dataset__path": "a.csv"}, "dataset.path"),
        (
            "table",
            {"dataset__path": "a.csv", "dataset__picture_folder": "b"},
            "dataset.path, dataset.picture_folder",
        ),
        ("images", {"dataset__folder": "a"}, "dataset.folder, dataset.table"),
        ("svmlight", {"dataset__path": "a.svm"}, "dataset.path"),
        ("svmlight", {"dataset__path": "a.svm", "dataset__test": "b.svm"}, "dataset.path, dataset.test"),
        ("mulan", {}, "dataset.folder, dataset.train, dataset.test, dataset.labels"),
        (
            "yeast",
            {"init_from": "first"},
            "dataset.folder, dataset.train, dataset.test, dataset.labels, init_from",
        ),
    ],
)
def test_where_files_are_depends_on_the_data_set(
    write_run: WriteRun, dataset: str, options: dict[str, Any], places: str | None
) -> None:
    old = write_run(dataset, **options)
    with pytest.raises(UserError) as error:
        read_rerun(old, ["MLC_DATA=x"])
    files = f" and where its files are now ({places})" if places else ""
    accepted = "hydra.run.dir=, trainer.device=" if files else "hydra.run.dir= and trainer.device="
    assert f"beside rerun= only {accepted}{files} are accepted;" in str(error.value)
    for key in (places or "").split(", ") if places else []:
        read_rerun(old, [f"{key}=moved"])


@pytest.mark.parametrize(
    "word",
    [
        *("seed=1", "head=softmax", "optimizer.lr=0.1", "trainer.max_epochs=4", "trainer", "-m"),
        "trainer.label_shards=true",  # that run had all labels in one process
        *("hydra.run.dir=", "hydra.sweep.dir=x", "dataset.labels=x"),
        *("init_from=first", "dataset.folder=x", "text.model=x"),  # which that run has not
    ],
)
def test_anything_else_is_another_run(write_run: WriteRun, word: str) -> None:
    with pytest.raises(UserError) as error:
        read_rerun(write_run(dataset__path="ads.csv"), [word])
    assert str(error.value).startswith(f"{word} cannot be changed in a rerun")
    assert "(dataset.path)" in str(error.value)
    assert "start a new run" in str(error.value)


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no run"):
        read_rerun(tmp_path, [])


def test_a_backbone_that_is_gone(write_run: WriteRun) -> None:
    again = read_rerun(write_run(init_from="first"), [])
    with pytest.raises(UserError, match=r"old began with the backbone of first, .* \(init_from=\.\.\.\)"):
        again.job()


def test_data_that_have_moved(write_run: WriteRun) -> None:
    again = read_rerun(write_run(dataset__path="ads.csv", dataset__labels="tags"), [])
    with pytest.raises(UserError, match=r"dataset\.path=ads\.csv is not there.*give dataset\.path=") as error:
        again.job()
    assert "\n" not in str(error.value)


def test_a_mistake_that_is_not_about_places_stays_as_it_is(write_run: WriteRun) -> None:
    Path("ads.csv").write_text("title,tags\na,x\nb,y\n")
    again = read_rerun(write_run(dataset__path="ads.csv", dataset__labels="missing"), [])
    with pytest.raises(UserError) as error:
        again.job()
    assert "is not there, seen from here" not in str(error.value)


def rerun(made_from: Provenance | None, **changes: Any) -> Rerun:
    again = Rerun(Path("old"), Path("new"), {}, made_from, {"test a": 0.5})
    return replace(again, **changes)


@pytest.mark.parametrize(("then", "expected"), [(3, 3), (None, 2), (0, 2), (10**9, 2), ("3", 2)])
def test_as_many_threads_as_then(then: Any, expected: int) -> None:
    before = torch.get_num_threads()
    made_from = replace(MADE_FROM, sittings=(replace(SITTING, machine={"threads": then}),))
    try:
        torch.set_num_threads(2)
        with rerun(made_from).threads():
            assert torch.get_num_threads() == expected
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (MADE_FROM, []),
        (replace(MADE_FROM, data={"train": "x", "test": "y"}), ["other training rows, test rows."]),
        (replace(MADE_FROM, initial_weights="x"), ["does not start with the weights"]),
        (
            replace(MADE_FROM, sittings=(replace(SITTING, versions={"torch": "3"}),)),
            ["torch 2 then, 3 now."],
        ),
    ],
)
def test_what_is_different(now: Provenance, expected: list[str]) -> None:
    found = rerun(MADE_FROM).different(now)
    assert len(found) == len(expected)
    for sentence, part in zip(found, expected, strict=True):
        assert part in sentence


def test_settings_that_a_resumed_run_was_given_later() -> None:
    words = ("-m", "mlc.train", "trainer.max_epochs=4", "resume=old", "trainer.device=\x1b[2J")
    resumed = replace(MADE_FROM, sittings=(SITTING, replace(SITTING, command=words)))
    (sentence,) = rerun(resumed).different(MADE_FROM)
    assert sentence == "old was resumed with trainer.max_epochs=4, which this run has from its first step."
    first = replace(SITTING, command=words)
    assert rerun(replace(resumed, sittings=(first, first))).different(MADE_FROM) == []
