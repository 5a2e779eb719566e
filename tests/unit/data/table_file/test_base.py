from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from mlc.data.table_file.base import Chunk, TableFile, composed
from mlc.errors import UserError


class Empty(TableFile):
    def chunks(self, columns: Sequence[str], *, chunk_rows: int) -> Iterator[Chunk]:
        yield from ()


TABLE = Empty(Path("ads.csv"), ["Größe", "title", "tags"])


def test_a_column_is_found_however_its_umlaut_is_written() -> None:
    decomposed = "Gro\u0308ße"
    assert decomposed != "Größe"
    assert TABLE.find(decomposed, option="x") == composed(decomposed) == "Größe"
    assert TABLE.find(" title ", option="x") == "title"


def test_a_column_that_is_not_there_is_guessed() -> None:
    with pytest.raises(
        UserError, match=r"ads\.csv has no column 'titel', which dataset\.text names; did you mean title"
    ):
        TABLE.find("titel", option="dataset.text")
    with pytest.raises(UserError, match=r"it has Größe, title, tags$"):
        TABLE.find("xyz", option="dataset.text")


def test_an_error_says_where() -> None:
    assert str(TABLE.error("it is torn.", place=3)) == "ads.csv, line 3: it is torn."


def test_many_and_long_names_are_cut_in_a_message() -> None:
    table = Empty(Path("t.csv"), ["x" * 1000, *(f"c{number}" for number in range(11))])
    with pytest.raises(UserError, match=r"it has x{57}\.\.\., c0, .*, c8 and 2 more$"):
        table.find("???", option="x")
