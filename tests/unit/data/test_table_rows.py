import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlc.data.examples import TEST, TRAIN, VALID, Examples
from mlc.data.schema import Schema
from mlc.data.table_file.opening import open_table
from mlc.data.table_input_columns import InputReader, Pictures
from mlc.data.table_roles import TableRoles
from mlc.data.table_rows import RowReader
from mlc.data.table_schema import KnownValues
from mlc.errors import UserError

NO_PICTURES = Pictures(folder=None, size=None, colour="grey")
UTC = datetime.UTC
ROWS = [
    {"text": "a", "tags": "x|y", "g": "p", "day": "2024-01-02", "w": 2, "s": "train", "aux": 1},
    {"text": "b", "tags": "", "g": "", "day": "2024-01-01", "w": 0, "s": "dev", "aux": "?"},
    {"text": "", "tags": "y", "g": "q", "day": "2024-01-04", "w": 1, "s": "test", "aux": 0},
    {"text": "d", "tags": "?", "g": "p", "day": "2024-01-03", "w": 1, "s": "train", "aux": None},
    {"text": "e", "tags": "x", "g": None, "day": "2024-01-03", "w": 1, "s": "train", "aux": 1},
]


def read(folder: Path, *, chunk_rows: int, **given: Any) -> Examples:
    path = folder / "t.jsonl"
    path.write_text("".join(json.dumps(row) + "\n\n" for row in ROWS))
    table = open_table(path)
    none = dict.fromkeys(["picture", "auxiliary_labels", "split", "group", "time", "weight"])
    roles = TableRoles(**{**none, "text": "text", "numbers": (), "categories": (), "labels": "tags", **given})  # type: ignore[arg-type]
    inputs = InputReader(table, KnownValues(Schema(())), text="text", picture=None, pictures=NO_PICTURES)
    rows = RowReader(table, roles, inputs, delimiter=None)
    for chunk in table.chunks(rows.columns, chunk_rows=chunk_rows):
        rows.add(chunk)
    return rows.finish()


@pytest.mark.parametrize("chunk_rows", [1, 2, 100])
def test_every_role_is_read(chunk_rows: int, tmp_path: Path) -> None:
    found = read(
        tmp_path,
        chunk_rows=chunk_rows,
        split="s",
        group="g",
        time="day",
        weight="w",
        auxiliary_labels=("aux",),
    )
    nan = np.nan
    assert found.text == ["a", "b", "", "d", "e"]
    assert found.label_names == ("x", "y")
    np.testing.assert_array_equal(found.y_NL[:], [[1, 1], [0, 0], [0, 1], [nan, nan], [1, 0]])
    assert found.part_N is not None
    assert found.part_N.tolist() == [TRAIN, VALID, TEST, TRAIN, TRAIN]
    assert found.group_N is not None
    assert found.group_N.tolist() == [0, 1, 2, 0, 3]  # those without a group stand alone
    days = [datetime.datetime.fromisoformat(str(row["day"])).replace(tzinfo=UTC).timestamp() for row in ROWS]
    np.testing.assert_array_equal(found.time_N, days)
    np.testing.assert_array_equal(found.weight_N, [2, 0, 1, 1, 1])
    assert found.weight_name == "w"
    assert found.auxiliary_names == ("aux",)
    assert found.auxiliary_NA is not None
    np.testing.assert_array_equal(found.auxiliary_NA[:, 0], [1, nan, 0, nan, 1])
    assert found.notes[1:] == (
        "1 empty cell of label columns is read as unknown; write 0 for no.",
        "1 row has no text in text, which is read as empty.",
        "4 blank lines between rows were skipped.",
        "2 rows have no g; each of them is a group of its own.",
    )


def test_what_has_no_column_is_not_there(tmp_path: Path) -> None:
    found = read(tmp_path, chunk_rows=3)
    nothing = [found.codes, found.pictures, found.weight_N, found.part_N, found.group_N, found.time_N]
    assert [*nothing, found.auxiliary_NA] == [None] * 7


def test_a_wrong_cell_is_said_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"t\.jsonl, line 1: day is '2024-01-02', not a number"):
        read(tmp_path, chunk_rows=2, weight="day")
    with pytest.raises(UserError, match=r"t\.jsonl, line 1: g is 'p', not a split"):
        read(tmp_path, chunk_rows=2, split="g")


def test_times_are_of_one_kind_in_all_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ROWS[-1], "day", 5)
    with pytest.raises(UserError, match="line 9: day is 5, not a date, as the times above are"):
        read(tmp_path, chunk_rows=2, time="day")
