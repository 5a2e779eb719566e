import datetime
import sys
from pathlib import Path

import pytest

from mlc.data.table_file.opening import open_table
from mlc.errors import UserError
from tests.unit.data.table_file.read_all import read_all

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

DAY = datetime.date(2024, 5, 31)


def write(folder: Path, columns: dict[str, object]) -> Path:
    path = folder / "t.parquet"
    parquet.write_table(pyarrow.table(columns), path, row_group_size=2)
    return path


def test_rows_with_their_types_and_numbers(tmp_path: Path) -> None:
    columns = {
        "Größe.x": [1.5, None, 3.0],
        "tags": [["a", "b"], [], None],
        "day": [DAY, DAY, None],
        "kind": pyarrow.array(["p", "q", "p"]).dictionary_encode(),
    }
    cells, places = read_all(write(tmp_path, columns))
    assert cells == {
        "Größe.x": [1.5, None, 3.0],
        "tags": [["a", "b"], [], None],
        "day": [DAY, DAY, None],
        "kind": ["p", "q", "p"],
    }
    assert places == [1, 2, 3]


def test_an_error_says_the_row(tmp_path: Path) -> None:
    table = open_table(write(tmp_path, {"a": [1]}))
    assert str(table.error("it is torn.", place=1)).endswith("t.parquet, row 1: it is torn.")


def test_a_table_without_rows(tmp_path: Path) -> None:
    path = write(tmp_path, {"a": pyarrow.array([], pyarrow.int64())})
    assert read_all(path) == ({"a": []}, [])


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    parquet.write_table(pyarrow.table([[1], [2]], names=["a", "a "]), path)
    with pytest.raises(UserError, match="two columns with the same name"):
        open_table(path)


@pytest.mark.parametrize("kept", [0, 10, 0.5])
def test_a_cut_file_is_refused(kept: float, tmp_path: Path) -> None:
    path = write(tmp_path, {"a": list(range(100))})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole) if kept < 1 else kept)])
    with pytest.raises(UserError, match="is no whole Parquet file"):
        open_table(path)


def test_without_pyarrow_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, {"a": [1]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"pip install mlc\[parquet\]"):
        open_table(path)


def test_nanoseconds_become_microseconds(tmp_path: Path) -> None:
    moments = pyarrow.array([1_600_000_000_123_456_789, None], pyarrow.timestamp("ns", tz="UTC"))
    cells, _ = read_all(write(tmp_path, {"t": moments}))
    assert cells["t"] == [datetime.datetime(2020, 9, 13, 12, 26, 40, 123456, tzinfo=datetime.UTC), None]


@pytest.mark.parametrize(
    ("values", "kind", "reason"),
    [
        ([0, 10**18], pyarrow.timestamp("us"), "out of range"),
        ([0, 10**9], pyarrow.date32(), "days="),
        ([None, 0], pyarrow.timestamp("s", tz="there is no time zone Mars/Phobos"), "Mars/Phobos"),
        ([0, 10**17], pyarrow.duration("ms"), "days"),
        ([[0], [10**18]], pyarrow.list_(pyarrow.timestamp("us")), "out of range"),
    ],
)
def test_what_python_has_no_value_for_is_said_with_its_row(
    values: list[object], kind: object, reason: str, tmp_path: Path
) -> None:
    path = write(tmp_path, {"n": [0, 1, 2, 3], "t": pyarrow.array([None, None, *values], kind)})
    with pytest.raises(
        UserError, match=rf"t\.parquet, row 4: t cannot be read \(.*{reason}.*\); write it as"
    ):
        read_all(path)


def test_texts_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, {"namename": ["a", "valuevalue"]})
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"valuevalue", b"valuev\xfflue"))
    with pytest.raises(UserError, match=r"t\.parquet, row 2: namename is not UTF-8"):
        read_all(path)
    path.write_bytes(whole.replace(b"namename", b"namen\xffme"))
    with pytest.raises(UserError, match=r"t\.parquet.*(UTF-8|no whole Parquet file)"):
        open_table(path)
