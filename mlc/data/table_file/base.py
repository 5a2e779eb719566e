"""A table as its file has it: named columns, read in chunks, with the place of every row."""

import difflib
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from mlc.data.notes import counted
from mlc.errors import UserError

Cell = Any  # text, a number, true or false, a list, or None where the file has nothing

_SHOWN = 10  # columns named in a message
_LONGEST = 60  # characters of a name in a message


@dataclass(frozen=True)
class Chunk:
    """A few rows.

    Args:
        cells: the cells of each column that was asked for, by its name.
        places: where each row stands in the file; see `TableFile.where`.
    """

    cells: Mapping[str, Sequence[Cell]]
    places: Sequence[int]


class TableFile(ABC):
    """An open table.

    Names are compared in Unicode's composed form, because an ü may be written as one sign or as two.

    Args:
        path: the file.
        names: the names of its columns, in order.
        notes: sentences that say what was repaired or assumed to read it.
    """

    unit: ClassVar[str] = "line"  # what a place counts, from 1

    def __init__(self, path: Path, names: Sequence[str], *, notes: Sequence[str] = ()) -> None:
        self.path = path
        self.names = tuple(names)
        self.notes = list(notes)
        self.n_blank = 0  # blank lines between rows that were skipped so far
        self.n_hollow = 0  # rows without anything in their cells that were skipped so far

    @abstractmethod
    def chunks(self, columns: Sequence[str], *, chunk_rows: int) -> Iterator[Chunk]:
        """The rows of the file from its start, in order; may be called again.

        Args:
            columns: the columns to read, as `find` gives them.
            chunk_rows: at most this many rows at a time.

        Raises:
            UserError: the file is malformed; says where.
        """

    def gap_notes(self) -> list[str]:
        """Sentences on what was skipped."""
        notes = []
        if self.n_blank:
            lines = counted(self.n_blank, "blank line", "blank lines")
            notes.append(f"{lines} between rows {'was' if self.n_blank == 1 else 'were'} skipped.")
        if self.n_hollow:
            rows = counted(
                self.n_hollow, "row whose cells are all blank was", "rows whose cells are all blank were"
            )
            notes.append(f"{rows} skipped.")
        return notes

    def find(self, column: str, *, option: str) -> str:
        """The name of a column as the file writes it.

        Args:
            column: the name as the user gave it.
            option: the option that it was given in, for the message.

        Raises:
            UserError: there is no such column; says which one may have been meant.
        """
        name = composed(column.strip())
        if name in self.names:
            return name
        close = difflib.get_close_matches(name, self.names, n=1)
        has = ", ".join(_short(name) for name in self.names[:_SHOWN])
        hint = f"did you mean {_short(close[0])}?" if close else f"it has {has}"
        more = f" and {len(self.names) - _SHOWN} more" if len(self.names) > _SHOWN and not close else ""
        raise UserError(f"{self.path} has no column {column!r}, which {option} names; {hint}{more}")

    def error(self, problem: str, *, place: int) -> UserError:
        """The error that says that `problem` is at this place."""
        return UserError(f"{self.path}, {self.unit} {place}: {problem}")


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 3]}..."


def composed(name: str) -> str:
    """The name in Unicode's composed form (NFC)."""
    return unicodedata.normalize("NFC", name)
