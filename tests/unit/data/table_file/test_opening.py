from pathlib import Path

import pytest

from mlc.data.table_file.opening import open_table
from mlc.errors import UserError


@pytest.mark.parametrize("name", ["t.csv", "t.CSV", "t.tsv", "t.tab", "t.jsonl", "t.ndjson"])
def test_the_ending_says_how_to_read(name: str, tmp_path: Path) -> None:
    text = '{"a": 1, "b": 2}\n' if "json" in name else "a\tb\n1\t2\n"
    (tmp_path / name).write_text(text)
    assert open_table(tmp_path / name).names == ("a", "b")


def test_other_files_are_refused_with_what_is_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"tables are read from \.csv, \.tsv"):
        open_table(tmp_path / "t.xlsx")


def test_a_file_that_is_not_there_or_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"t\.csv does not exist"):
        open_table(tmp_path / "t.csv")
    (tmp_path / "f.csv").mkdir()
    with pytest.raises(UserError, match=r"f\.csv is a folder"):
        open_table(tmp_path / "f.csv")
