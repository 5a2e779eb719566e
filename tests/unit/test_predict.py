import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import Tensor

import mlc.describe
import mlc.evaluate
import mlc.options
from mlc.errors import UserError
from mlc.predict import predict
from tests.unit.training import tiny

ROWS = 4


class Source:
    """Made-up rows, whatever the file is."""

    def read_inputs(
        self, path: Path, *, preparation: Mapping[str, Tensor], chunk_rows: int
    ) -> Iterator[Mapping[str, Any]]:
        yield {"x": tiny.split(ROWS, 3).inputs["x"]}


class Folder(Source):
    """The same, with the files of a folder."""

    def files_in(self, folder: Path) -> list[str]:
        return [f"sub/{i}.png" for i in range(ROWS)]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a trained run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    trained(monkeypatch, Source())


def trained(monkeypatch: pytest.MonkeyPatch, source: Source) -> None:
    classifier = tiny.classifier()
    for part in classifier.parts().values():
        part.eval()
    found = SimpleNamespace(
        classifier=classifier,
        facts=SimpleNamespace(label_names=tiny.NAMES, preparation={}),
        recipe=SimpleNamespace(source=source, makers={}, settings=tiny.settings()),
    )
    monkeypatch.setattr("mlc.predict.read_trained_run", lambda folder: found)


def predicted(*words: str, source: str = "new.csv") -> list[list[str]]:
    predict(["run=run", f"input={source}", "output=out.csv", *words])
    with Path("out.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def write(header: str, rows: Sequence[str]) -> None:
    Path("new.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def test_columns_of_the_input_are_kept() -> None:
    write('id,"a, b",c', [f"n{i},x{i},z" for i in range(ROWS)])
    header, *rows = predicted('keep="a, b",id')
    assert header == ["row", "a, b", "id", "decided", *tiny.NAMES]
    assert [row[:3] for row in rows] == [[str(i), f"x{i}", f"n{i}"] for i in range(ROWS)]


def test_rows_that_are_pictures_have_their_files(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("new").mkdir()
    assert predicted(source="new")[0] == ["row", "decided", *tiny.NAMES]
    trained(monkeypatch, Folder())
    header, *rows = predicted(source="new")
    assert header == ["row", "file", "decided", *tiny.NAMES]
    assert [row[:2] for row in rows] == [[str(i), f"sub/{i}.png"] for i in range(ROWS)]


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        ("", r"keep= names no column"),
        ("id,", r"keep=id, names no column"),
        ("idd", r"no column 'idd', which keep names; did you mean id\?"),
        ("decided", r"the output has a column decided of its own"),
    ],
)
def test_columns_that_cannot_be_kept(keep: str, said: str) -> None:
    write("id,decided", [f"n{i},x" for i in range(ROWS)])
    with pytest.raises(UserError, match=said):
        predicted(f"keep={keep}")
    assert not Path("out.csv").exists()


def test_a_folder_has_no_columns() -> None:
    Path("new").mkdir()
    with pytest.raises(UserError, match="input=new is a folder: leave keep= away"):
        predicted("keep=id", source="new")


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_text_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"^text= is empty: give the text"):
        predict(["run=run", f"text={text}"])
    with pytest.raises(UserError, match=r"leave input= and keep= away"):
        predict(["run=run", "text=a", "input=new.csv", "keep=id"])


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_every_door_says_how_it_is_used(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    for door, name in (
        (predict, "predict"),
        (mlc.evaluate.evaluate, "evaluate"),
        (mlc.options.options, "options"),
        (mlc.describe.describe, "describe"),
    ):
        door([word])
        assert capsys.readouterr().out.startswith(f"usage: python -m mlc.{name} ")
