import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mlc.data import label_column
from mlc.data.label_column import LabelColumn, LabelFlags, ReadLabels, detect_delimiter
from mlc.data.table_file.base import Chunk
from mlc.errors import UserError
from mlc.rows import LabelRows
from tests.unit.data.table_file.test_base import Empty

TABLE = Empty(Path("ads.csv"), ["tags", "a", "b"])
NAN = math.nan


def read(cells: Sequence[Any], *, delimiter: str | None = None) -> ReadLabels:
    """The labels of cells that stand in lines 2, 3, ..., given in two chunks."""
    column = LabelColumn(TABLE, "tags", delimiter=delimiter)
    for part in (slice(0, 2), slice(2, None)):
        column.add(Chunk({"tags": cells[part]}, range(2, 2 + len(cells))[part]))
    return column.finish()


def flags(a: Sequence[Any], b: Sequence[Any]) -> ReadLabels:
    columns = LabelFlags(TABLE, ["b", "a"])
    for part in (slice(0, 2), slice(2, None)):
        columns.add(Chunk({"a": a[part], "b": b[part]}, range(2, 2 + len(a))[part]))
    return columns.finish()


def assert_targets(found: ReadLabels, names: Sequence[str], expected: Sequence[Sequence[float]]) -> None:
    assert found.names == tuple(names)
    assert found.dense().dtype == torch.float32
    torch.testing.assert_close(found.dense(), torch.tensor(expected, dtype=torch.float32), equal_nan=True)


def test_delimited_cells() -> None:
    found = read(["b| a", "", "?", "c", " NaN ", "a|b"])
    unknown = [NAN] * 3
    assert_targets(found, ["a", "b", "c"], [[1, 1, 0], [0, 0, 0], unknown, [0, 0, 1], unknown, [1, 1, 0]])
    assert found.notes == (
        "Labels in tags are separated by '|' (detected; dataset.label_delimiter overrides).",
    )


def test_lists_need_no_delimiter() -> None:
    found = read([["b", " a "], [], None, ["?"], [3, True], math.nan])
    unknown = [NAN] * 4
    assert_targets(
        found, ["3", "a", "b", "true"], [[0, 1, 1, 0], [0] * 4, unknown, unknown, [1, 0, 0, 1], unknown]
    )
    assert found.notes == (
        "1 cell of tags is null, which says that the labels are unknown; "
        "an empty list or text says that there are none.",
    )


def test_single_values_of_other_types_are_labels() -> None:
    assert_targets(read([3, 2.0, "x", False]), ["2", "3", "false", "x"], np.eye(4)[[1, 0, 3, 2]].tolist())


@pytest.mark.parametrize("cells", [['["b", "a"]', "[]", '["a"]'], ["['b', 'a']", "[]", "['a']"]])
def test_lists_written_as_text(cells: list[str]) -> None:
    found = read(cells)
    assert_targets(found, ["a", "b"], [[1, 1], [0, 0], [1, 0]])
    assert found.notes == ("The cells of tags are read as lists in brackets.",)


def test_repeats_and_gaps_are_counted_for_every_row() -> None:
    found = read(["a|a|b", "a||b|", "a|a|b", "", "b"])
    assert_targets(found, ["a", "b"], [[1, 1], [1, 1], [1, 1], [0, 0], [0, 1]])
    assert found.notes[1:] == (
        "2 labels that stand twice in a cell of tags count once.",
        "2 empty labels between delimiters in tags were dropped.",
    )


def test_umlauts_written_in_two_ways_are_one_label() -> None:
    assert read(["Köln|x", "Ko\u0308ln"]).names == ("Köln", "x")


def test_a_given_delimiter_is_taken_as_it_is() -> None:
    found = read(["a, b / c", "c"], delimiter="/")
    assert_targets(found, ["a, b", "c"], [[1, 1], [0, 1]])
    assert found.notes == ("Labels in tags are separated by '/'.",)


def test_a_given_delimiter_that_never_occurs_where_another_does() -> None:
    found = read(["a;b", "b;c|d", "c", "a;d"], delimiter="/")
    assert found.notes == (
        "Warning: dataset.label_delimiter=/ stands in no cell of tags, so every cell is one label; ';' "
        "stands in 3 of 4 different cells (dataset.label_delimiter=;, or leave it away).",
    )
    assert found.names == ("a;b", "a;d", "b;c|d", "c")
    (note,) = read(["a;b", "b", "c", "d"], delimiter="/").notes
    assert note == "Every cell of tags is one label or none: none holds /."


def test_cells_without_any_delimiter_are_one_label_each() -> None:
    found = read(["a b", "c"])
    assert_targets(found, ["a b", "c"], [[1, 0], [0, 1]])
    assert found.notes == ("Every cell of tags is one label or none: none holds | ; ,.",)


@pytest.mark.parametrize(
    ("cells", "delimiter"),
    [
        (["a|b", "b"], "|"),
        (["a;b", "b"], ";"),
        (["a,b", "b"], ","),
        (["Berlin, Mitte|Bau", "Berlin, Mitte", "Bau|Wien, Ost"], "|"),  # commas in names
        (["x,y", "y,z", "x,z", "x;y,z"], ","),  # one slip of the pen
        (["a|b;c"], "|"),  # a tie
    ],
)
def test_the_delimiter_that_gives_fewest_labels_is_found(cells: list[str], delimiter: str) -> None:
    assert detect_delimiter(cells) == delimiter


def test_a_doubtful_delimiter_states_the_rule() -> None:
    assert read(["Berlin, Mitte|Bau", "Berlin, Mitte"]).notes == (
        "Labels in tags are separated by '|' (of | , it gives the fewest different labels; "
        "dataset.label_delimiter overrides).",
    )


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["a", "a|?"], r"ads\.csv, line 3: tags is 'a\|\?', not a list of labels"),
        (["a", "b", {"c": 1}], "line 4: tags is {'c': 1}, not a list"),
        (["a", ["b", None]], "line 3: tags is"),
        ([["a", ["b"]]], "line 2: tags is"),
        (["[1, 2]", "[x y]"], r"line 3: tags is '\[x y\]'"),
        (["", "?", ""], "no cell of tags holds a label"),
        (
            ["0", "1", "?"],
            r"tags holds only 0 and 1; if it is a 0/1 column, give the label columns as a list",
        ),
    ],
)
def test_what_is_no_list_of_labels(cells: list[Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(cells)


def test_many_labels_are_held_sparse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_column, "_MOST_DENSE", 5)
    cells = ["a|b", "", "b", "b|a"]
    found = read(cells)
    assert isinstance(found.y_NL, LabelRows)
    assert_targets(found, ["a", "b"], [[1, 1], [0, 0], [0, 1], [1, 1]])
    assert isinstance(read([*cells, "?"]).y_NL, Tensor)  # LabelRows know no unknown


def test_flag_columns_keep_their_order_and_spellings() -> None:
    found = flags(
        a=["0", "1", "true", "FALSE", "0.0", "1.0", 1, False, True, 0.0],
        b=["?", "", " nan ", None, NAN, "1", "0", "1", "1", "1"],
    )
    a = [0, 1, 1, 0, 0, 1, 1, 0, 1, 0]
    b = [NAN] * 5 + [1, 0, 1, 1, 1]
    assert_targets(found, ["b", "a"], np.transpose([b, a]).tolist())
    assert found.notes == ("2 empty cells of label columns are read as unknown; write 0 for no.",)


@pytest.mark.parametrize("cell", ["2", "a|b", 0.5, [1], "yes"])
def test_flags_are_0_or_1(cell: object) -> None:
    with pytest.raises(UserError, match=r"ads\.csv, line 4: a is .*, not 0, 1 or \?"):
        flags(a=[0, 1, cell], b=[0, 0, 0])


def test_unknown_rows_among_very_many_targets_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """One such row would make all targets dense."""
    cells = ["a|b", "c", "a"]
    monkeypatch.setattr(label_column, "_MOST_DENSE", 8)
    monkeypatch.setattr(label_column, "_MOST_UNKNOWN", 14)
    assert isinstance(read(cells).y_NL, LabelRows)
    assert isinstance(read([*cells, "?"]).y_NL, Tensor)
    wanted = (
        r"ads\.csv: targets of 5 rows × 3 labels would take 0\.0 GB; take out the 2 rows whose labels are "
    )
    with pytest.raises(UserError, match=f"{wanted}unknown in tags"):
        read([*cells, "?", "?"])
    assert isinstance(read([*cells, "", "b"]).y_NL, LabelRows)
    with pytest.raises(UserError, match="auxiliary targets of 5 rows × 3 labels"):
        read([*cells, "", "b"]).dense()
