import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

import mlc
from mlc.errors import UserError
from mlc.training import provenance
from mlc.training.checksums import digest, digest_tensors
from mlc.training.job import Job
from mlc.training.provenance import Provenance, Sitting, changed_data, differences
from tests.unit.training import tiny, tiny_job

HERE = Sitting(
    command=("-m", "mlc.train"),
    versions={"mlc": "1", "torch": "2"},
    code="aa",
    commit={"id": "0123456789abcdef", "dirty": False},
    machine={"threads": 1, "device": "cpu"},
)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return tiny_job.job(tmp_path)


@pytest.fixture
def fresh() -> Iterator[None]:
    """Git is asked again."""
    provenance._commit.cache_clear()
    yield
    provenance._commit.cache_clear()


def test_what_a_job_is_made_from(job: Job) -> None:
    made = Provenance.of(job)
    assert made.seed == job.seed
    assert made.data == digest(tiny.dataset())
    assert made.initial_weights == digest_tensors(tiny.classifier().network.state_dict())
    (sitting,) = made.sittings
    assert sitting.command == tuple(sys.orig_argv[1:])
    assert sitting.versions["mlc"] == mlc.__version__
    assert sitting.versions["torch"] == torch.__version__
    assert sitting.versions["numpy"] == numpy.__version__
    assert sitting.versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert sitting.machine["threads"] == torch.get_num_threads()
    assert sitting.machine["device"] == "cpu"


def test_other_weights_show(job: Job, tmp_path: Path) -> None:
    other = replace(job, classifier=tiny_job.classifier(seed=1))
    assert Provenance.of(other).initial_weights != Provenance.of(job).initial_weights


def test_it_is_read_back_as_it_was(job: Job) -> None:
    assert Provenance.read(job.folder) is None
    made = Provenance.of(job).resumed(job)
    made.write(job.folder)
    assert Provenance.read(job.folder) == made


def test_results_have_the_last_sitting_and_the_earlier_ones() -> None:
    newer = replace(HERE, versions={"mlc": "2"})
    shown = Provenance(0, {"train": "t"}, "w", (HERE, newer)).for_results()
    assert shown["versions"] == {"mlc": "2"}
    assert shown["commit"] == {"id": "0123456789abcdef", "dirty": False}
    assert shown["data"] == {"train": "t"}
    assert shown["initial_weights"] == "w"
    assert [sitting["versions"] for sitting in shown["earlier_sittings"]] == [HERE.versions]
    json.dumps(shown, allow_nan=False)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.update(format_version=2),
        lambda content: content.update(sittings=[]),
        lambda content: content.update(data=3),
        lambda content: content.pop("seed"),
        lambda content: content["sittings"][0]["versions"].update(torch="\x1b[2J"),
    ],
)
def test_a_damaged_file_is_a_sentence(job: Job, change: Any) -> None:
    Provenance.of(job).write(job.folder)
    path = job.folder / "provenance.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"provenance.json cannot be read .*: delete it"):
        Provenance.read(job.folder)


def test_a_file_that_is_nested_without_end_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "provenance.json").write_text("[" * 200_000)
    with pytest.raises(UserError, match=r"provenance.json cannot be read .*: delete it"):
        Provenance.read(tmp_path)


def test_a_resumed_run_has_another_sitting(job: Job) -> None:
    made = Provenance.of(job)
    assert made.resumed(job) == replace(made, sittings=(*made.sittings, *made.sittings))


def test_changed_data_are_not_trained_on(job: Job) -> None:
    made = Provenance.of(job)
    other = replace(job, dataset=replace(job.dataset, valid=tiny.split(23, seed=9)))
    with pytest.raises(UserError) as error:
        made.resumed(other)
    assert "data have changed since it began (validation rows)" in str(error.value)


def test_changed_data_may_come_of_another_version(job: Job) -> None:
    made = Provenance.of(job)
    (sitting,) = made.sittings
    older = replace(sitting, versions=sitting.versions | {"numpy": "1.0"})
    other = replace(job, dataset=replace(job.dataset, train=tiny.split(23, seed=9)))
    with pytest.raises(UserError, match=r"\(training rows; numpy 1.0 then, .* now\)"):
        replace(made, sittings=(older,)).resumed(other)


def test_which_data_differ() -> None:
    then = {"train": "1", "valid": "2", "test": "3", "labels": "4", "preparation": "5"}
    assert changed_data(then, then) == []
    assert changed_data(then, then | {"test": "x", "labels": "y"}) == ["test rows", "names of the labels"]
    assert changed_data({}, {"train": "1"}) == ["training rows"]


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (HERE, []),
        (replace(HERE, command=("other",)), []),
        (replace(HERE, commit={"id": "f" * 40, "dirty": True}), []),  # the same code under another name
        (replace(HERE, versions={"mlc": "1", "torch": "3"}), ["torch 2 then, 3 now"]),
        (replace(HERE, versions={"mlc": "1"}), ["torch 2 then, None now"]),
        (replace(HERE, machine={"threads": 2, "device": "cpu"}), ["threads 1 then, 2 now"]),
        (
            replace(HERE, code="bb", commit=None),
            ["the code of mlc (commit 0123456789 then, no commit known now)"],
        ),
        (
            replace(HERE, code="bb", commit={"id": "f" * 40, "dirty": True}),
            ["the code of mlc (commit 0123456789 then, commit ffffffffff with changes now)"],
        ),
    ],
)
def test_what_differs_between_processes(now: Sitting, expected: list[str]) -> None:
    assert differences([HERE], now) == expected


def test_every_sitting_counts() -> None:
    older = replace(HERE, machine={"threads": 4, "device": "cpu"})
    assert differences([older, HERE], HERE) == ["threads 4 and 1 then, 1 now"]


@pytest.mark.usefixtures("fresh")
def test_a_wheel_has_no_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(mlc, "__file__", str(tmp_path / "mlc" / "__init__.py"))
    monkeypatch.setattr(subprocess, "run", pytest.fail)
    assert provenance._commit() is None


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("changes", ["", " M mlc/model.py\n"])
def test_a_checkout_has_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, changes: str) -> None:
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(mlc, "__file__", str(tmp_path / "mlc" / "__init__.py"))
    monkeypatch.setenv("GIT_DIR", "/elsewhere")

    def git(words: list[str], *, env: dict[str, str], **_: object) -> Any:
        assert "GIT_DIR" not in env
        assert words[words.index("-C") + 1] == str(tmp_path)
        out = changes if "status" in words else "abc\n"
        return subprocess.CompletedProcess(words, 0, stdout=out)

    monkeypatch.setattr(subprocess, "run", git)
    assert provenance._commit() == {"id": "abc", "dirty": bool(changes)}


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(
    "failure",
    [
        FileNotFoundError("git"),
        subprocess.TimeoutExpired("git", 5),
        subprocess.CalledProcessError(128, "git"),
    ],
)
def test_a_git_that_cannot_be_asked_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, failure: Exception
) -> None:
    (tmp_path / ".git").write_text("gitdir: ../elsewhere\n")
    monkeypatch.setattr(mlc, "__file__", str(tmp_path / "mlc" / "__init__.py"))

    def run(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(subprocess, "run", run)
    assert provenance._commit() is None
