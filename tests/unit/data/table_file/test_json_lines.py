from pathlib import Path

import pytest

from mlc.data.table_file.opening import open_table
from mlc.errors import UserError
from tests.unit.data.table_file.read_all import read_all


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "t.jsonl"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_rows_with_their_types_and_lines(tmp_path: Path) -> None:
    text = '\ufeff{"a": 1, " Größe ": ["x"]}\n\n{"b": null, "a": true}\n{"a": "\\\\u0000 \\ud83d\\ude00"}\n'
    text = text.replace("\n", "\r\n")
    path = write(tmp_path, text)
    cells, places = read_all(path, chunk_rows=1)
    assert cells == {"a": [1, True, "\\u0000 😀"], "Größe": [["x"], None, None], "b": [None, None, None]}
    assert places == [1, 3, 4]
    table = open_table(path)
    list(table.chunks(["a"], chunk_rows=9))
    assert table.n_blank == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"t\.jsonl has no rows"),
        ("{}\n{}\n", r"t\.jsonl has no rows"),
        ('{"a": 1}\n{"a": }\n', r"line 2: the line is not valid JSON \(Expecting value\)"),
        ('{"a": 1}\n{"a": 2\n', "line 2: the line is not valid JSON"),
        ('{"a": 1} {"a": 2}\n', "line 1: the line is not valid JSON"),
        ('{"a": ' + "9" * 5000 + "}\n", "line 1: the line is not valid JSON"),
        ("[" * 100_000 + "\n", "line 1: the line is not valid JSON"),
        ("[1, 2]\n", "line 1: the line is a list, not an object"),
        ('{"a": 1}\n3\n', "line 2: the line is a number, not an object"),
        ("null\n", "line 1: the line is null"),
        ('{"a": 1, "a ": 2}\n', "line 1: the key 'a' stands twice"),
        ('{"a": {"b": 1, "b": 2}}\n', "line 1: the key 'b' stands twice"),
        ('{"a": "\\ud83d"}\n', "line 1: an escape"),
        ('{"a": "\\u0000"}\n', "line 1: an escape"),
        ('{"a": "\0"}\n', "line 1: the line is not valid JSON"),
        (b'{"a": 1}\n{"a": "\xff"}\n', "line 2: the text is not UTF-8"),
    ],
)
def test_what_is_malformed_is_a_sentence_with_its_line(
    text: str | bytes, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        read_all(write(tmp_path, text))
