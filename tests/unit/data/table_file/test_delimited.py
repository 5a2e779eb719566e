from pathlib import Path

import pytest

from mlc.data.table_file.delimited import DelimitedFile
from mlc.data.table_file.opening import open_table
from mlc.errors import UserError
from tests.unit.data.table_file.read_all import read_all

GOOD = '''\ufeff"Titel, ""kurz""" , Größe,Prénom
"a, ""b""",1,é

"two
lines",2,x
c,,y
'''
CELLS = {
    'Titel, "kurz"': ['a, "b"', "two\nlines", "c"],
    "Größe": ["1", "2", ""],
    "Prénom": ["é", "x", "y"],
}


def write(folder: Path, text: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("chunk_rows", [1, 2, 100])
def test_header_quotes_and_line_numbers(line_end: str, chunk_rows: int, tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace('""" ,', '""",').replace("\n", line_end))
    cells, places = read_all(path, chunk_rows=chunk_rows)
    expected = {name: [cell.replace("\n", line_end) for cell in column] for name, column in CELLS.items()}
    assert cells == expected
    assert places == [2, 4, 6]


def test_a_file_can_be_read_again_and_in_part(tmp_path: Path) -> None:
    table = open_table(write(tmp_path, "a,b,c\n1,2,3\n4,5,6\n"))
    for _ in range(2):
        (chunk,) = table.chunks(["c", "a"], chunk_rows=9)
        assert chunk.cells == {"c": ["3", "6"], "a": ["1", "4"]}


@pytest.mark.parametrize(("separator", "said"), [(";", "semicolons"), ("\t", "tabs")])
def test_another_separator_in_a_csv_is_seen_and_said(separator: str, said: str, tmp_path: Path) -> None:
    text = '"a""b";b\n"1,5";2\n'.replace(";", separator)
    table = open_table(write(tmp_path, text))
    assert table.names == ('a"b', "b")
    assert table.notes == [f"The cells of t.csv are separated by {said}."]
    (chunk,) = table.chunks(["b"], chunk_rows=9)
    assert chunk.cells == {"b": ["2"]}


def test_separators_in_quotes_do_not_count(tmp_path: Path) -> None:
    path = write(tmp_path, '"a, ""b"", c\n, d";e\n1;2\n')
    assert read_all(path)[0] == {'a, "b", c\n, d': ["1"], "e": ["2"]}
    assert read_all(write(tmp_path, '"a;b;c",d\n1,2\n'))[0] == {"a;b;c": ["1"], "d": ["2"]}


def test_tabs_in_a_tsv_are_nothing_to_say(tmp_path: Path) -> None:
    path = write(tmp_path, "a,1\tb\n1;2\t3\n", "t.tsv")
    assert read_all(path)[0] == {"a,1": ["1;2"], "b": ["3"]}
    assert open_table(path).notes == []


def test_columns_without_a_name_are_left_out_and_counted(tmp_path: Path) -> None:
    table = open_table(write(tmp_path, ",a, \n0,x,\n1,y,\n"))
    assert table.names == ("a",)
    assert table.notes == ["2 columns without a name are not read."]
    (chunk,) = table.chunks(["a"], chunk_rows=9)
    assert chunk.cells == {"a": ["x", "y"]}


def test_blank_lines_between_rows_are_counted(tmp_path: Path) -> None:
    table = open_table(write(tmp_path, "a,b\n\n1,2\n  \n3,4\n\n\n"))
    (chunk,) = table.chunks(["a"], chunk_rows=9)
    assert list(chunk.places) == [3, 5]
    assert table.n_blank == 2  # those at the end are no gap


@pytest.mark.parametrize("chunk_rows", [1, 9])
def test_rows_of_blank_cells_are_skipped_and_counted_also_at_the_end(chunk_rows: int, tmp_path: Path) -> None:
    table = open_table(write(tmp_path, "a,b\n, \n1,2\n\n3,\n,,,\n,\n"))
    for _ in range(2):
        places = [place for chunk in table.chunks(["a"], chunk_rows=chunk_rows) for place in chunk.places]
        assert places == [3, 5]
        assert (table.n_blank, table.n_hollow) == (1, 3)
    assert table.gap_notes() == [
        "1 blank line between rows was skipped.",
        "3 rows whose cells are all blank were skipped.",
    ]


def test_an_empty_cell_of_the_only_column_is_a_row(tmp_path: Path) -> None:
    cells, places = read_all(write(tmp_path, 'a\nx\n""\n  \ny\n'))
    assert cells == {"a": ["x", "", "  ", "y"]}
    assert places == [2, 3, 4, 5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"t\.csv is empty"),
        ("\n\n", r"t\.csv is empty"),
        (",,\n1,2,3\n", "line 1: the header names no column"),
        ("a,b,a\n1,2,3\n", "line 1: the column 'a' stands twice"),
        ("\na,b, a \n1,2,3\n", "line 2: the column 'a' stands twice"),
        ("a,b\n1,2\n3\n", "line 3: the row has 1 cell, but the header has 2"),
        ('a,b\n"x\ny",2\n3,4,5\n', "line 4: the row has 3 cells"),
        ('a,b\n1,2\n"3,4\n5,6\n', "line 3: a double quote opens here and is never closed"),
        ('a,b\n1,2\n"3"x,4\n', "line 3: the quotes do not match"),
        ('"a"x,b\n1,2\n', "line 1: the quotes do not match"),
        (b"a,b\n1,2\n\xe4,3\n", "line 3: the text is not UTF-8"),
        ("a,b\n1,2\n".encode("utf-16"), "line 1: the text is not UTF-8"),
        ("a,b\n1,2\n".encode("utf-16-le"), "line 1: the text has a NUL byte"),
        ("a,b\n1,2\n3,\0\n", "line 3: the text has a NUL byte"),
        ("a,b\r1,2\r3,4\r", "line 1: a carriage return stands inside the line"),
        ("a,b\n1," + "x" * 140_000 + "\n", "line 2: a cell is longer than 131072 characters"),
    ],
)
def test_what_is_malformed_is_a_sentence_with_its_line(
    text: str | bytes, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        read_all(write(tmp_path, text))


def test_a_header_without_rows_has_no_chunks(tmp_path: Path) -> None:
    table = DelimitedFile(write(tmp_path, "a,b\n"), delimiters=",")
    assert list(table.chunks(["a"], chunk_rows=9)) == []
