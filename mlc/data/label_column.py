"""Labels in a table: one column that lists those of a row, or one 0/1 column for each label."""

import ast
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlc.data.notes import counted
from mlc.data.schema import Floats
from mlc.data.table_columns import category_or_none, is_missing, number_or_none, wrong_cell
from mlc.data.table_file.base import Cell, Chunk, TableFile, composed
from mlc.errors import UserError
from mlc.rows import LabelRows, Targets

DELIMITERS = ("|", ";", ",")  # the first one is taken where several fit as well

_MOST_DENSE = 50_000_000  # entries; larger targets without unknown ones are held sparse
_MOST_UNKNOWN = 250_000_000  # entries, a gigabyte; larger targets with unknown ones are refused
_UNKNOWN = ("?", "nan")
_TRUTH = {"true": 1.0, "false": 0.0}

_Key = str | tuple[str, ...] | None  # a cell: a text, a list of labels, or unknown


@dataclass(frozen=True)
class ReadLabels:
    """What label columns hold.

    Args:
        names: the L labels.
        y_NL: targets: 0 or 1, NaN where unknown.
        notes: sentences that say what was assumed or repaired.
    """

    names: tuple[str, ...]
    y_NL: Targets
    notes: tuple[str, ...]

    def dense(self) -> Tensor:
        """The targets as N×L float32.

        Raises:
            UserError: they are very many.
        """
        if self.y_NL.shape[0] * self.y_NL.shape[1] > _MOST_UNKNOWN:
            raise UserError(f"auxiliary targets of {_size(*self.y_NL.shape)}: keep fewer of these labels.")
        return self.y_NL[:] if isinstance(self.y_NL, LabelRows) else self.y_NL


class LabelColumn:
    """One column whose cells list the labels of their rows, as a delimited text or as a list.

    An empty cell is the empty set; ? or NaN, or null in files that know it, says that the labels of the row
    are unknown. Spaces around labels do not count, and a label that stands twice in a cell counts once.
    Labels are sorted by name.

    Args:
        table: the file, for messages.
        column: the column.
        delimiter: what separates labels in a text; None finds it out, see `detect_delimiter`.
    """

    def __init__(self, table: TableFile, column: str, *, delimiter: str | None) -> None:
        self._table = table
        self._column = column
        self._delimiter = delimiter
        self._keys: dict[_Key, int] = {}  # the different cells, numbered
        self._places: list[int] = []  # where each of them stands first
        self._key_of_row: list[int] = []
        self._n_null = 0

    def add(self, chunk: Chunk) -> None:
        """Take the cells of a few more rows."""
        for cell, place in zip(chunk.cells[self._column], chunk.places, strict=True):
            key = self._key(cell, place)
            if key not in self._keys:
                self._keys[key] = len(self._keys)
                self._places.append(place)
            self._key_of_row.append(self._keys[key])
            self._n_null += cell is None

    def finish(self) -> ReadLabels:
        """The labels of all rows.

        Raises:
            UserError: no row has a label, or a cell is no list of labels, says where; or there are unknown
                labels and very many targets, which with them cannot be held sparse.
        """
        cut, notes = self._cutting()
        raw = [self._parse(key, cut, place) for key, place in zip(self._keys, self._places, strict=True)]
        sets = [None if names is None else sorted(set(names) - {""}) for names in raw]
        names = sorted({name for labels in sets if labels for name in labels})
        self._check(names)
        ids = {name: number for number, name in enumerate(names)}
        sets_of_ids = [None if labels is None else [ids[name] for name in labels] for labels in sets]
        self._check_unknown(sets_of_ids, len(names))
        y_NL = _targets(sets_of_ids, np.array(self._key_of_row), n_labels=len(names))
        return ReadLabels(tuple(names), y_NL, (*notes, *self._repairs(raw)))

    def _key(self, cell: Cell, place: int) -> _Key:
        if is_missing(cell):
            return None
        if isinstance(cell, list | tuple):
            return self._names(cell, cell, place)
        text = cell.strip() if isinstance(cell, str) else category_or_none(cell)
        if text is None:
            raise self._wrong(cell, place)
        return None if text.lower() in _UNKNOWN else composed(text)

    def _names(self, items: Sequence[Any], cell: Cell, place: int) -> tuple[str, ...]:
        """The items of a list as labels."""
        names = []
        for item in items:
            name = item.strip() if isinstance(item, str) else category_or_none(item)
            if name is None or is_missing(item):
                raise self._wrong(cell, place)
            names.append(composed(name))
        return tuple(names)

    def _cutting(self) -> tuple[Callable[[str, int], Sequence[str]], list[str]]:
        """What cuts a text at its place into labels, and notes on how it was found."""
        cells = [key for key in self._keys if isinstance(key, str) and key]
        if not cells:
            return lambda cell, _: [cell], []
        if self._delimiter is None and all(cell[0] == "[" and cell[-1] == "]" for cell in cells):
            note = f"The cells of {self._column} are read as lists in brackets."
            return lambda cell, place: self._names(self._literal(cell, place), cell, place), [note]
        delimiter = self._delimiter or detect_delimiter(cells)
        return lambda cell, _: cell.split(delimiter), [self._delimiter_note(cells, delimiter)]

    def _delimiter_note(self, cells: Sequence[str], delimiter: str) -> str:
        possible = DELIMITERS if self._delimiter is None else (delimiter,)
        held = [other for other in possible if any(other in cell for cell in cells)]
        if not held:
            if self._delimiter is not None and (warning := self._other_delimiter(cells)):
                return warning
            return f"Every cell of {self._column} is one label or none: none holds {' '.join(possible)}."
        note = f"Labels in {self._column} are separated by {delimiter!r}"
        if self._delimiter is not None:
            return f"{note}."
        how = "detected" if len(held) == 1 else f"of {' '.join(held)} it gives the fewest different labels"
        return f"{note} ({how}; dataset.label_delimiter overrides)."

    def _other_delimiter(self, cells: Sequence[str]) -> str:
        """A warning where another known delimiter stands in most texts; "" where none does."""
        n_cells = {other: sum(other in cell for cell in cells) for other in DELIMITERS}
        other = max(DELIMITERS, key=n_cells.__getitem__)
        if 2 * n_cells[other] <= len(cells):
            return ""
        return (
            f"Warning: dataset.label_delimiter={self._delimiter} stands in no cell of {self._column}, so "
            f"every cell is one label; {other!r} stands in {n_cells[other]} of {len(cells)} different cells "
            f"(dataset.label_delimiter={other}, or leave it away)."
        )

    def _literal(self, cell: str, place: int) -> list[Any]:
        for parse in (json.loads, ast.literal_eval):  # Python programs write lists in quotes of their own
            try:
                with warnings.catch_warnings(action="ignore", category=SyntaxWarning):
                    found = parse(cell)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
            if isinstance(found, list):
                return found
        raise self._wrong(cell, place)

    def _parse(self, key: _Key, cut: Callable[[str, int], Sequence[str]], place: int) -> list[str] | None:
        """The labels of a cell, with "" and repeats; None where they are unknown."""
        if key is None:
            return None
        pieces = cut(key, place) if isinstance(key, str) else key
        names = [piece.strip() for piece in pieces]
        if names == ["?"]:
            return None
        if "?" in names:
            raise self._wrong(key, place)
        return names

    def _check(self, names: list[str]) -> None:
        if not names:
            raise UserError(
                f"{self._table.path}: no cell of {self._column} holds a label; name another column."
            )
        if set(names) <= {"0", "1"}:
            raise UserError(
                f"{self._table.path}: {self._column} holds only {' and '.join(names)}; if it is a 0/1 "
                "column, give the label columns as a list, such as [first,second], and not as one name."
            )

    def _check_unknown(self, sets: Sequence[list[int] | None], n_labels: int) -> None:
        """Refuse to make very many targets dense, which a single row of unknown labels would do."""
        if None not in sets or len(self._key_of_row) * n_labels <= _MOST_UNKNOWN:
            return
        unknown = {number for number, labels in enumerate(sets) if labels is None}
        n_rows = sum(key in unknown for key in self._key_of_row)
        rows = counted(n_rows, "row whose labels are", "rows whose labels are")
        raise UserError(
            f"{self._table.path}: targets of {_size(len(self._key_of_row), n_labels)}; take out the {rows} "
            f"unknown in {self._column}, which teach nothing, and only true labels are held."
        )

    def _repairs(self, raw: Sequence[Sequence[str] | None]) -> list[str]:
        """Sentences on what was left out of the cells."""
        rows = np.bincount(self._key_of_row, minlength=len(raw)).tolist()
        n_repeated = n_blank = 0
        for key, names, n_rows in zip(self._keys, raw, rows, strict=True):
            if key and names:
                n_blank += n_rows * names.count("")
                n_repeated += n_rows * (len([*filter(None, names)]) - len({*filter(None, names)}))
        notes = []
        if n_repeated:
            stands, counts = (
                ("label that stands", "counts") if n_repeated == 1 else ("labels that stand", "count")
            )
            notes.append(f"{n_repeated} {stands} twice in a cell of {self._column} {counts} once.")
        if n_blank:
            labels = counted(n_blank, "empty label")
            were = "was" if n_blank == 1 else "were"
            notes.append(f"{labels} between delimiters in {self._column} {were} dropped.")
        if self._n_null:
            cells, are = counted(self._n_null, "cell"), "is" if self._n_null == 1 else "are"
            notes.append(
                f"{cells} of {self._column} {are} null, which says that the labels are unknown; "
                "an empty list or text says that there are none."
            )
        return notes

    def _wrong(self, cell: Cell, place: int) -> UserError:
        wanted = "a list of labels: write texts, nothing where there is none, or ? alone where it is unknown"
        return wrong_cell(self._table, self._column, cell, place, wanted)


class LabelFlags:
    """One 0/1 column for each label; ?, NaN or an empty cell is an unknown target.

    Args:
        table: the file, for messages.
        columns: the columns, which are the labels.
    """

    def __init__(self, table: TableFile, columns: Sequence[str]) -> None:
        self._table = table
        self._columns = tuple(columns)
        self._pieces: list[Floats] = []
        self._n_empty = 0

    def add(self, chunk: Chunk) -> None:
        """Take the cells of a few more rows."""
        y_BL = np.empty((len(chunk.places), len(self._columns)))
        for number, column in enumerate(self._columns):
            for row, cell in enumerate(chunk.cells[column]):
                value = _flag(cell)
                if value is None:
                    wanted = (
                        "0, 1 or ? (a column that lists labels is given by its name alone, not in a list)"
                    )
                    raise wrong_cell(self._table, column, cell, chunk.places[row], wanted)
                y_BL[row, number] = value
                self._n_empty += cell is None or (isinstance(cell, str) and not cell.strip())
        self._pieces.append(y_BL)

    def finish(self) -> ReadLabels:
        """The labels of all rows."""
        notes = []
        if self._n_empty:
            cells = counted(
                self._n_empty, "empty cell of label columns is", "empty cells of label columns are"
            )
            notes.append(f"{cells} read as unknown; write 0 for no.")
        y_NL = torch.from_numpy(np.concatenate(self._pieces)).float()
        return ReadLabels(self._columns, y_NL, tuple(notes))


def _size(n_rows: int, n_labels: int) -> str:
    gigabytes = 4 * n_rows * n_labels / 1e9
    return f"{n_rows} rows × {n_labels} labels would take {gigabytes:.1f} GB"


def detect_delimiter(cells: Sequence[str]) -> str:
    """The one of | ; , that cuts these texts into the fewest different labels.

    Labels recur. Cut at the right place they are few; cut elsewhere, those that stand together stay glued in
    many combinations. At a tie it is the one that most texts hold, and then the earlier one.

    Args:
        cells: different texts. A delimiter that none of them holds is not considered.
    """
    n_cells = {delimiter: sum(delimiter in cell for cell in cells) for delimiter in DELIMITERS}

    def badness(delimiter: str) -> tuple[int, int]:
        labels = {label.strip() for cell in cells for label in cell.split(delimiter)}
        return len(labels), -n_cells[delimiter]

    return min([delimiter for delimiter in DELIMITERS if n_cells[delimiter]] or DELIMITERS, key=badness)


def _flag(cell: Cell) -> float | None:
    """0, 1, NaN where unknown, None where it is something else."""
    if isinstance(cell, str) and (truth := _TRUTH.get(cell.strip().lower())) is not None:
        return truth
    number = number_or_none(cell)
    return number if number is not None and (number in (0, 1) or np.isnan(number)) else None


def _targets(sets: Sequence[list[int] | None], set_of_row: Any, *, n_labels: int) -> Targets:
    """The targets of rows that have these label sets (None: unknown)."""
    length_M = torch.tensor([len(labels or ()) for labels in sets])
    ids = [label for labels in sets for label in labels or ()]
    rows_M = LabelRows(
        torch.tensor(ids, dtype=torch.int32), length_M.cumsum(0) - length_M, length_M, n_labels=n_labels
    )
    row_sets = torch.from_numpy(set_of_row)
    y_NL = rows_M.view(row_sets)
    if None not in sets and len(set_of_row) * n_labels > _MOST_DENSE:
        return y_NL
    unknown_M = torch.tensor([labels is None for labels in sets])
    return y_NL[:].masked_fill_(unknown_M[row_sets][:, None], torch.nan)
