from pathlib import Path

import numpy as np
import pytest

from mlc.data.arff_file import ArffFile
from mlc.data.schema import Attribute, Floats
from mlc.errors import UserError

HEADER = """% a comment
@RELATION 'a set'
@attribute size numeric
@Attribute 'long name' {red,green,blue}
@attribute word {0,1}
@DATA
"""
CUT = "was the file cut short"


def arff(folder: Path, text: str | bytes) -> Path:
    path = folder / "set.arff"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(folder: Path, text: str | bytes, chunk_rows: int = 100) -> tuple[Floats, list[int]]:
    chunks = list(ArffFile(arff(folder, text)).chunks(chunk_rows))
    assert all(len(codes) <= chunk_rows for codes, _ in chunks)
    return np.concatenate([codes for codes, _ in chunks]), [n for _, numbers in chunks for n in numbers]


def test_header(tmp_path: Path) -> None:
    assert ArffFile(arff(tmp_path, HEADER)).attributes == (
        Attribute("size"),
        Attribute("long name", ("red", "green", "blue")),
        Attribute("word", ("0", "1")),
    )


@pytest.mark.parametrize("chunk_rows", [1, 2, 100])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_dense_rows(newline: str, chunk_rows: int, tmp_path: Path) -> None:
    text = HEADER + "1.5,green,0\n\n% comment\n-2e3, 'blue' ,1\n?,?,?"
    codes, lines = read(tmp_path, text.replace("\n", newline), chunk_rows)
    np.testing.assert_array_equal(codes, [[1.5, 1, 0], [-2000, 2, 1], [np.nan] * 3])
    assert lines == [7, 10, 11]


def test_sparse_rows_leave_out_zero_and_the_first_value(tmp_path: Path) -> None:
    codes, lines = read(tmp_path, HEADER + "{0 3, 2 1}\n{ }\n{1 blue,0 ?}\n")
    np.testing.assert_array_equal(codes, [[3, 0, 1], [0, 0, 0], [np.nan, 2, 0]])
    assert lines == [7, 8, 9]


def test_no_rows(tmp_path: Path) -> None:
    assert list(ArffFile(arff(tmp_path, HEADER)).chunks(5)) == []


@pytest.mark.parametrize("row", ["1,green", "1,green,0,0", "1,green,0\n1,gr"])
def test_dense_row_of_the_wrong_width(row: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"set\.arff, line {7 + row.count(chr(10))}: .*{CUT}"):
        read(tmp_path, HEADER + row)


@pytest.mark.parametrize("row", ["{0 1,2", "{0 1,2 1", "{0 1,", "{0", "{3 1}", "1,green,0"])
def test_sparse_row_that_is_cut_or_wrong(row: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"set\.arff, line 8: "):
        read(tmp_path, HEADER + "{0 1}\n" + row)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("x,red,0", "not a number"),
        ("1,pink,0", "not among those"),
        ("1,50%d,0", "not among those"),
        ("inf,red,0", "infinite"),
        ("1e39,red,0", "too large"),
        ("1,'red,0", "not valid ARFF"),
    ],
)
def test_bad_values_name_their_line(row: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"set\.arff, line 8: .*{problem}"):
        read(tmp_path, HEADER + "1,red,0\n" + row + "\n1,red,0\n")


def test_infinite_integer(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="line 4"):
        read(tmp_path, "@relation r\n@attribute a integer\n@data\ninf\n")


def test_rows_that_are_not_utf8(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"set\.arff, line 8: the text is not UTF-8"):
        read(tmp_path, HEADER.encode() + b"1,red,0\n1,gr\xfcn,0\n")


@pytest.mark.parametrize("n_lines", range(6))
def test_header_cut_between_lines(n_lines: int, tmp_path: Path) -> None:
    text = "".join(HEADER.splitlines(keepends=True)[:n_lines])
    with pytest.raises(UserError, match=r"set\.arff, line \d: there is no @data line"):
        ArffFile(arff(tmp_path, text))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("@attribute a", "@attribute line is not valid"),
        ("@attribute", "not valid"),
        ("@attribute a date", "not numeric"),
        ("@attribute word numeric", "declared before"),
        ("@attribute a {x,y", "braces is not valid"),
        ("@attribute a {x y,z}", "braces is not valid"),
        ("@attribute a {x,,z}", "braces is not valid"),
        ("@relation again", "does not belong here"),
    ],
)
def test_bad_header_lines(line: str, problem: str, tmp_path: Path) -> None:
    text = HEADER.replace("@DATA", f"{line}\n@DATA")
    with pytest.raises(UserError, match=rf"set\.arff, line 6: .*{problem}"):
        ArffFile(arff(tmp_path, text))


def test_long_list_that_is_cut_is_found_at_once(tmp_path: Path) -> None:
    # liac-arff alone would need hours: see _checked_header.
    values = ",".join(["value"] * 60)
    with pytest.raises(UserError, match=CUT):
        ArffFile(arff(tmp_path, f"@relation r\n@attribute a {{{values}"))


def test_text_attribute_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="attribute title holds text"):
        ArffFile(arff(tmp_path, "@relation r\n@attribute title string\n@data\nx\n"))
