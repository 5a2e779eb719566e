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
