"""CSV and TSV files."""

import csv
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from mlc.data.lines import NumberedLines
from mlc.data.notes import counted
from mlc.data.table_file.base import Chunk, TableFile, composed
from mlc.errors import UserError

_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs"}


class DelimitedFile(TableFile):
    """A text file with a header and one row per record; quoted cells may span lines.

    The place of a row is the line in which it starts. Blank lines are skipped, and so are rows of several
    cells that are all blank, such as spreadsheets write below the last one. Columns without a name, such as
    the row numbers that some programs write, are not read.

    Args:
        path: the file, in UTF-8, with or without a byte-order mark.
        delimiters: what may separate cells: the one that stands most often in the header outside quotes, or
            the first of them.
    """

    def __init__(self, path: Path, *, delimiters: str) -> None:
        self.path = path
        self._n_cells = 0  # not known yet
        self._delimiter = self._find_delimiter(delimiters)
        header_line, header = next(self._records(), (0, []))
        if not header:
            raise UserError(
                f"{path} is empty; the first line must name the columns, and rows stand below it, one a line."
            )
        names = [composed(cell.strip()) for cell in header]
        self._n_cells = len(names)
        self._columns = {name: column for column, name in enumerate(names) if name}
        named = [name for name in names if name]
        if not named:
            raise UserError(f"{path}, line {header_line}: the header names no column; write their names.")
        if len(self._columns) < len(named):
            twice = next(name for name in named if named.count(name) > 1)
            raise UserError(
                f"{path}, line {header_line}: the column {twice!r} stands twice in the header; "
                "rename one of them."
            )
        notes = []
        if self._delimiter != delimiters[0]:
            notes.append(f"The cells of {path.name} are separated by {_NAMES[self._delimiter]}.")
        if len(named) < len(names):
            unnamed = counted(
                len(names) - len(named), "column without a name is", "columns without a name are"
            )
            notes.append(f"{unnamed} not read.")
        super().__init__(path, named, notes=notes)

    def chunks(self, columns: Sequence[str], *, chunk_rows: int) -> Iterator[Chunk]:
        """See TableFile; every row must have as many cells as the header."""
        wanted = [self._columns[column] for column in columns]
        records = self._records()
        next(records)
        while chunk := list(islice(records, chunk_rows)):
            for line, row in chunk:
                if len(row) != self._n_cells:
                    raise self.error(
                        f"the row has {counted(len(row), 'cell')}, but the header has {self._n_cells}; put "
                        f"cells that hold the separator {self._delimiter!r} in double quotes.",
                        place=line,
                    )
            cells = {
                name: [row[column] for _, row in chunk] for name, column in zip(columns, wanted, strict=True)
            }
            yield Chunk(cells, [line for line, _ in chunk])

    def _find_delimiter(self, delimiters: str) -> str:
        """The one that stands most often in the header outside quotes, the first one where none does more."""
        found = dict.fromkeys(delimiters, 0)
        within_quotes = False
        with open(self.path, "rb") as file:
            for line in _whole(NumberedLines(file, self.path)):
                for number, piece in enumerate(line.split('"')):
                    if number:
                        within_quotes = not within_quotes
                    if not within_quotes:
                        for delimiter in delimiters:
                            found[delimiter] += piece.count(delimiter)
                if line.strip() and not within_quotes:
                    break
        return max(delimiters, key=found.__getitem__)

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        """Every record that holds something, with the line in which it starts."""
        n_blank = n_hollow = 0
        with open(self.path, "rb") as file:
            lines = NumberedLines(file, self.path)
            reader = csv.reader(_whole(lines), delimiter=self._delimiter, strict=True)
            while True:
                start = lines.number + 1
                try:
                    row = next(reader, None)
                except csv.Error as error:
                    raise self.error(_problem(error), place=start) from error
                if row is None:
                    return
                # Where rows have one cell, one of spaces is an empty cell, as "" is.
                filled = any(cell.strip() for cell in row)
                if filled or (row and self._n_cells == 1) or (len(row) > 1 and not self._n_cells):
                    self.n_blank = n_blank
                    yield start, row
                elif len(row) > 1:
                    n_hollow += 1
                    self.n_hollow = n_hollow
                else:
                    n_blank += 1


def _whole(lines: NumberedLines) -> Iterator[str]:
    for line in lines:
        if "\0" in line:
            raise lines.error(
                "the text has a NUL byte; convert the file to UTF-8 or copy it anew, if it is damaged."
            )
        yield line


def _problem(error: csv.Error) -> str:
    """What csv complains about, in the user's words."""
    text = str(error)
    if "unexpected end" in text:
        return "a double quote opens here and is never closed; close it, or write it twice if it is text."
    if "field limit" in text:
        return (
            f"a cell is longer than {csv.field_size_limit()} characters; close a double quote that is open, "
            "or write the table as JSON lines."
        )
    if "new-line" in text:
        return "a carriage return stands inside the line; give all lines the same line ends."
    return f"the quotes do not match ({text}); write a double quote inside a quoted cell twice."
