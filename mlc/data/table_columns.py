"""The cells of one column of a table as what they mean: numbers, texts, categories, splits, times, weights.

Every function takes the open table (for messages), the column, and its cells with their places, and raises a
UserError with the place of the first cell that does not fit. Cells of a CSV file are texts; those of other
files have types.
"""

import datetime
import decimal
import math

import numpy as np
from numpy.typing import NDArray

from mlc.data.examples import TEST, TRAIN, VALID
from mlc.data.schema import LARGEST, Floats
from mlc.data.table_file.base import Cell, Chunk, TableFile
from mlc.errors import UserError

_MISSING = ("", "?", "nan", "n/a", "null")  # how a value that is not there is written in any case
_NO_NUMBER = (*_MISSING, "na", "none")  # NA and none can be values of a category: Namibia, and none at all
_PARTS = {
    "train": TRAIN,
    "training": TRAIN,
    "valid": VALID,
    "validation": VALID,
    "val": VALID,
    "dev": VALID,
    "development": VALID,
    "test": TEST,
    "testing": TEST,
}


def number_or_none(cell: Cell) -> float | None:
    """The number that a cell is, NaN where it is missing, None where it is something else."""
    if cell is None:
        return math.nan
    if isinstance(cell, str):
        text = cell.strip()
        if text.lower() in _NO_NUMBER:
            return math.nan
        if "_" in text:  # Python reads 1_000; nobody else does
            return None
    elif not isinstance(cell, int | float | decimal.Decimal):
        return None
    try:
        return float(cell)
    except OverflowError:
        return math.inf
    except ValueError:
        return None


def numbers(table: TableFile, column: str, chunk: Chunk) -> Floats:
    """The numbers of a column; NaN where missing."""
    found = np.empty(len(chunk.places))
    for row, cell in enumerate(chunk.cells[column]):
        number = number_or_none(cell)
        if number is None:
            raise _wrong(table, column, chunk, row, "a number (with a decimal point), or empty where missing")
        found[row] = number
    large = np.abs(found) > LARGEST
    if large.any():
        raise table.error(
            f"{column} is infinite or too large for float32; leave it empty if it is missing.",
            place=chunk.places[int(large.argmax())],
        )
    return found


def weights(table: TableFile, column: str, chunk: Chunk) -> Floats:
    """The weights of rows: finite, 0 or more, none missing."""
    found = numbers(table, column, chunk)
    wrong = ~(found >= 0)  # written so that NaN is wrong too
    if wrong.any():
        raise _wrong(table, column, chunk, int(wrong.argmax()), "a weight: give every row one of 0 or more")
    return found


def texts(table: TableFile, column: str, chunk: Chunk) -> list[str]:
    """The texts of a column; "" where missing or blank."""
    found = []
    for row, cell in enumerate(chunk.cells[column]):
        if isinstance(cell, str):
            found.append(cell if cell.strip() else "")
        elif is_missing(cell):
            found.append("")
        else:
            raise _wrong(table, column, chunk, row, "a text: write it in quotes, or null where it is missing")
    return found


def categories(table: TableFile, column: str, chunk: Chunk) -> list[str]:
    """The values of a nominal column, without spaces around them; "" where missing."""
    found = []
    for row, cell in enumerate(chunk.cells[column]):
        value = category_or_none(cell)
        if value is None:
            raise _wrong(table, column, chunk, row, "one value: a text, a number, true or false")
        found.append(value)
    return found


def category_or_none(cell: Cell) -> str | None:
    """A cell as the name of a value, "" where it is missing, None where it is no single value."""
    if is_missing(cell):
        return ""
    if isinstance(cell, str):
        value = cell.strip()
        return "" if value.lower() in _MISSING else value
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float):  # where a column has gaps, whole numbers are stored as 1.0
        return str(int(cell)) if cell.is_integer() else repr(cell)
    if isinstance(cell, int | decimal.Decimal | datetime.date):
        return str(cell)
    return None


def paths(table: TableFile, column: str, chunk: Chunk) -> list[str]:
    """The names of files; none missing."""
    found = []
    for row, cell in enumerate(chunk.cells[column]):
        if not isinstance(cell, str) or not cell.strip():
            raise _wrong(
                table, column, chunk, row, "the path of a picture; give every row one or take it out"
            )
        found.append(cell.strip())
    return found


def parts(table: TableFile, column: str, chunk: Chunk) -> NDArray[np.int8]:
    """TRAIN, VALID or TEST of every row."""
    found = np.empty(len(chunk.places), dtype=np.int8)
    for row, cell in enumerate(chunk.cells[column]):
        part = _PARTS.get(cell.strip().lower()) if isinstance(cell, str) else None
        if part is None:
            raise _wrong(table, column, chunk, row, "a split: write train, valid or test")
        found[row] = part
    return found


class Times:
    """Numbers, or ISO dates as seconds since 1970 (in UTC where they name no zone), in all chunks alike."""

    def __init__(self) -> None:
        self._are_dates: bool | None = None  # not known yet

    def __call__(self, table: TableFile, column: str, chunk: Chunk) -> Floats:
        """The times of a few more rows; none missing."""
        found = np.empty(len(chunk.places))
        for row, cell in enumerate(chunk.cells[column]):
            number = number_or_none(cell)
            time = _date(cell) if number is None else number
            if time is None or not math.isfinite(time):
                raise _wrong(table, column, chunk, row, "a time: write a number or a date such as 2024-05-31")
            is_date = number is None
            self._are_dates = is_date if self._are_dates is None else self._are_dates
            if is_date != self._are_dates:
                kind = "a date" if self._are_dates else "a number"
                raise _wrong(table, column, chunk, row, f"{kind}, as the times above are")
            found[row] = time
        return found


def is_missing(cell: Cell) -> bool:
    """Whether a cell is null or NaN."""
    return cell is None or (isinstance(cell, float | decimal.Decimal) and math.isnan(cell))


def _date(cell: Cell) -> float | None:
    if isinstance(cell, str):
        try:
            cell = datetime.datetime.fromisoformat(cell.strip())
        except ValueError:
            return None
    if isinstance(cell, datetime.date) and not isinstance(cell, datetime.datetime):
        cell = datetime.datetime.combine(cell, datetime.time())
    if not isinstance(cell, datetime.datetime):
        return None
    zoned = cell if cell.tzinfo else cell.replace(tzinfo=datetime.UTC)
    return (zoned - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)).total_seconds()


def _wrong(table: TableFile, column: str, chunk: Chunk, row: int, wanted: str) -> UserError:
    return wrong_cell(table, column, chunk.cells[column][row], chunk.places[row], wanted)


def wrong_cell(table: TableFile, column: str, cell: Cell, place: int, wanted: str) -> UserError:
    """The error that says that a cell is not what it should be."""
    shown = repr(cell)
    shown = shown if len(shown) <= 40 else f"{shown[:37]}..."
    return table.error(f"{column} is {shown}, not {wanted}.", place=place)
