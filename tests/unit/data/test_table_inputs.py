import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mlc.data.schema import Attribute, Schema
from mlc.data.table_inputs import prepare, read_table
from mlc.errors import UserError

SCHEMA = Schema(
    (Attribute("size"), Attribute("colour", ("red", "green", "blue")), Attribute("word", ("0", "1")))
)
PREPARATION = {
    "schema": SCHEMA.to_tensor(),
    "fill": torch.tensor([10, 0.5, 0.25, 0.25, 0.1], dtype=torch.float64),
    "mean": torch.tensor([10, 0, 0, 0, 0], dtype=torch.float64),
    "scale": torch.tensor([2, 1, 1, 1, 1], dtype=torch.float64),
}
EXPECTED = [[-3, 0, 1, 0, 1], [0, 0, 0, 1, 0], [5, 0.5, 0.25, 0.25, 0]]

CSV = """word,"size",note,colour
1,4,"a, b",green
0,,x,blue

0.0,2e1,x,?
"""
ARFF = """@relation new
@attribute colour {red,green,blue}
@attribute note numeric
@attribute word {0,1}
@attribute size numeric
@data
green,1,1,4
blue,1,0,?
?,1,0,20
"""
ARRAY = np.array([[4, 0, 1, 0, 1], [np.nan, 0, 0, 1, 0], [20, np.nan, np.nan, np.nan, 0]])


def write(folder: Path, kind: str) -> Path:
    path = folder / f"new.{kind}"
    if kind == "npy":
        np.save(path, ARRAY)
    else:
        path.write_text({"csv": CSV, "arff": ARFF}[kind], encoding="utf-8")
    return path


def read(path: Path, *, chunk_rows: int = 100) -> Tensor:
    chunks = list(read_table(path, preparation=PREPARATION, chunk_rows=chunk_rows))
    assert all(len(chunk) <= chunk_rows for chunk in chunks)
    return torch.cat(chunks)


@pytest.mark.parametrize("kind", ["csv", "arff", "npy"])
@pytest.mark.parametrize("chunk_rows", [1, 2, 100])
def test_every_kind_of_file_gives_the_same_rows(kind: str, chunk_rows: int, tmp_path: Path) -> None:
    x = read(write(tmp_path, kind), chunk_rows=chunk_rows)
    assert x.dtype == torch.float32
    torch.testing.assert_close(x, torch.tensor(EXPECTED))


@pytest.mark.parametrize(("kind", "n_missing"), [("csv", 4), ("arff", 4), ("npy", 4)])
def test_imputed_cells_and_ignored_columns_are_said(
    kind: str, n_missing: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        read(write(tmp_path, kind), chunk_rows=1)
    assert f"{n_missing} missing cells were imputed" in caplog.text
    assert ("1 column ignored: note" in caplog.text) is (kind != "npy")


def test_a_whole_file_says_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "new.csv"
    path.write_text("size,colour,word\n1,red,1\n")
    read(path)
    assert caplog.text == ""


def test_byte_order_mark_before_the_header(tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    path.write_text("size,colour,word\n12,red,0\n", encoding="utf-8-sig")
    assert read(path).tolist() == [[1, 1, 0, 0, 0]]


def test_header_without_rows_gives_no_chunk(tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    path.write_text("size,colour,word\n")
    assert list(read_table(path, preparation=PREPARATION, chunk_rows=5)) == []


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ("1,red", "line 3: the row has 2 cells, but the header has 3"),
        ("1,red,0,0", "line 3: the row has 4 cells"),
        ("big,red,0", "line 3: size is 'big', not a number"),
        ("inf,red,0", "line 3: size is infinite"),
        ("-1e39,red,0", "line 3: size is infinite or too large"),
        ("1,pink,0", r"line 3: colour is 'pink', not one of {red,green,blue}"),
        ("1,red,2", "line 3: word is '2', not one of {0,1}"),
        ('1,"red"x,0', "line 3: the line is not valid CSV"),
        ('1,"red,0', "line 3: the line is not valid CSV"),
    ],
)
def test_bad_csv_rows_name_their_line(rows: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    path.write_text("size,colour,word\n1,red,0\n" + rows)
    with pytest.raises(UserError, match=rf"new\.csv, {problem}"):
        read(path)


def test_csv_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    path.write_bytes(b"size,colour,word\n1,gr\xfcn,0\n")
    with pytest.raises(UserError, match="line 2: the text is not UTF-8"):
        read(path)


@pytest.mark.parametrize("text", ["", "1,2,3\n", "size;colour;word\n1;green;0\n"])
def test_a_first_line_that_is_no_header_asks_for_one(text: str, tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=r"line 1 names none of the 3 features .* separated by commas"):
        read(path)


def test_missing_columns_are_named(tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    path.write_text("size,note\n1,2\n")
    with pytest.raises(UserError, match=r"lacks \d of the 3 features of the model \(.*colour, word\)"):
        read(path)


def test_column_that_stands_twice(tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    path.write_text("size,colour,word,size\n1,red,0,2\n")
    with pytest.raises(UserError, match="column 'size' stands twice"):
        read(path)


def test_arff_attribute_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "new.arff"
    path.write_text(ARFF.replace("{red,green,blue}", "{green,red,blue}"))
    with pytest.raises(UserError, match=r"colour is declared as \{green,red,blue\}.*\{red,green,blue\}"):
        read(path)


@pytest.mark.parametrize("shape", [(3, 4), (5,), (3, 5, 1)])
def test_array_of_the_wrong_shape(shape: tuple[int, ...], tmp_path: Path) -> None:
    np.save(tmp_path / "new.npy", np.zeros(shape))
    with pytest.raises(UserError, match=r"has the shape .* needs N rows of 5 columns"):
        read(tmp_path / "new.npy")


def test_infinite_value_in_an_array_names_the_row(tmp_path: Path) -> None:
    x = np.zeros((6, 5))
    x[4, 0] = -np.inf
    np.save(tmp_path / "new.npy", x)
    with pytest.raises(UserError, match=r"row 4 \(from 0\): a value is infinite"):
        read(tmp_path / "new.npy", chunk_rows=3)


@pytest.mark.parametrize(
    ("name", "problem"), [("new.txt", r"\.csv, \.arff, \.npy"), ("new.csv", "does not exist")]
)
def test_other_or_missing_file(name: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=problem):
        read(tmp_path / name)


def test_preparation_by_hand() -> None:
    x = prepare(np.array([[14.0, 1, 0, 0, np.nan]]), PREPARATION)
    torch.testing.assert_close(x, torch.tensor([[2, 1, 0, 0, 0.1]]))
