"""Streaming new table rows from .csv, .arff or .npy files, prepared like the training rows."""

import csv
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from torch import Tensor

from mlc.data.arff_file import ArffFile
from mlc.data.array_file import open_array
from mlc.data.categories import spellings
from mlc.data.lines import NumberedLines
from mlc.data.notes import counted, listed
from mlc.data.numbers import prepare
from mlc.data.regular_file import check_file
from mlc.data.schema import LARGEST, Attribute, Floats, Schema
from mlc.errors import UserError

_log = logging.getLogger(__name__)
_MISSING = ("", "?")


def read_table(path: Path, *, preparation: Mapping[str, Tensor], chunk_rows: int) -> Iterator[Tensor]:
    """Stream the rows of a file, a chunk in memory at a time.

    A .csv file has a header with the feature names in any order. An .arff file declares the features in any
    order. An .npy file is N×D in the order of the columns (see Schema.expand) and is memory-mapped. What the
    model does not use is ignored and missing values are imputed; both are logged as warnings.

    Args:
        path: the file.
        preparation: "schema", "fill", "mean" and "scale", as `prepare` needs them.
        chunk_rows: at most this many rows at a time.

    Returns:
        Float32 tensors B×D, ready for the model.

    Raises:
        UserError: the file does not hold what the model was trained on; says the line.
    """
    readers: dict[str, Callable[[Path, Schema, int], Iterator[Floats]]] = {
        ".csv": _read_csv,
        ".arff": _read_arff,
        ".npy": _read_npy,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UserError(
            f"{path}: tables are read from {', '.join(readers)} files; convert it to one of them."
        )
    check_file(path, wanted="name a file with the rows to predict")
    n_imputed = 0
    for x_BD in reader(path, Schema.from_tensor(preparation["schema"]), chunk_rows):
        n_imputed += int(np.isnan(x_BD).sum())
        yield prepare(x_BD, preparation)
    if n_imputed:
        _log.warning(
            "%s: %s imputed with the training mean.",
            path,
            counted(n_imputed, "missing cell was", "missing cells were"),
        )


def _read_npy(path: Path, schema: Schema, chunk_rows: int) -> Iterator[Floats]:
    array = open_array(path)
    if array.ndim != 2 or array.shape[1] != schema.n_columns:
        raise UserError(
            f"{path} has the shape {array.shape}; the model needs N rows of {schema.n_columns} columns."
        )
    for start in range(0, len(array), chunk_rows):
        x_BD = np.array(array[start : start + chunk_rows], dtype=np.float64)
        large_B = (np.abs(x_BD) > LARGEST).any(axis=1)
        if large_B.any():
            raise UserError(
                f"{path}, row {start + int(large_B.argmax())} (from 0): "
                "a value is infinite or too large for float32; if it is missing, write NaN."
            )
        yield x_BD


def _read_arff(path: Path, schema: Schema, chunk_rows: int) -> Iterator[Floats]:
    file = ArffFile(path)
    columns = _find_columns(path, [attribute.name for attribute in file.attributes], schema)
    for column, wanted in zip(columns, schema.attributes, strict=True):
        if file.attributes[column] != wanted:
            raise UserError(
                f"{path}: the attribute {wanted.name} is declared as {_kind(file.attributes[column])}, "
                f"but the model was trained with {_kind(wanted)}."
            )
    for codes_BA, _ in file.chunks(chunk_rows):
        yield schema.expand(codes_BA[:, columns])


def _kind(attribute: Attribute) -> str:
    return "{" + ",".join(attribute.values) + "}" if attribute.values else "a number"


def _read_csv(path: Path, schema: Schema, chunk_rows: int) -> Iterator[Floats]:
    with open(path, "rb") as file:
        lines = NumberedLines(file, path)
        rows = _csv_rows(lines)
        header = [name.strip() for name in next(rows, [])]
        columns = _find_columns(path, header, schema)
        parse = _CsvParser(lines, header, columns, schema)
        while chunk := [parse(row) for row in islice(rows, chunk_rows)]:
            yield schema.expand(np.array(chunk))


def _csv_rows(lines: NumberedLines) -> Iterator[list[str]]:
    try:
        yield from (row for row in csv.reader(iter(lines), strict=True) if row)
    except csv.Error as error:
        raise lines.error(f"the line is not valid CSV ({error}).") from error


class _CsvParser:
    """Turns the cells of one CSV row into codes (see Schema); an error names the line and the column."""

    def __init__(self, lines: NumberedLines, header: list[str], columns: list[int], schema: Schema) -> None:
        self._lines = lines
        self._n_cells = len(header)
        self._cells = list(zip(columns, schema.attributes, map(spellings, schema.attributes), strict=True))

    def __call__(self, row: list[str]) -> list[float]:
        if len(row) != self._n_cells:
            raise self._lines.error(
                f"the row has {counted(len(row), 'cell')}, but the header has {self._n_cells}."
            )
        return [self._code(row[column].strip(), attribute, codes) for column, attribute, codes in self._cells]

    def _code(self, cell: str, attribute: Attribute, codes: Mapping[str, float]) -> float:
        if cell in _MISSING:
            return np.nan
        if attribute.values:
            if cell not in codes:
                raise self._lines.error(f"{attribute.name} is {cell!r}, not one of {_kind(attribute)}.")
            return codes[cell]
        try:
            number = float(cell)
        except ValueError:
            raise self._lines.error(f"{attribute.name} is {cell!r}, not a number.") from None
        if abs(number) > LARGEST:
            raise self._lines.error(f"{attribute.name} is infinite or too large for float32.")
        return number


def _find_columns(path: Path, names: Sequence[str], schema: Schema) -> list[int]:
    """Where each feature of the schema stands among `names`; the names it does not need are logged."""
    places = {name: place for place, name in enumerate(names)}
    if len(places) < len(names):
        twice = next(name for place, name in enumerate(names) if places[name] != place)
        raise UserError(
            f"{path}, line 1: the column {twice!r} stands twice in the header; rename one of them."
        )
    wanted = [attribute.name for attribute in schema.attributes]
    missing = [name for name in wanted if name not in places]
    if len(missing) == len(wanted):
        raise UserError(
            f"{path}, line 1 names none of the {len(wanted)} features of the model: the first line must be a "
            f"header with their names ({', '.join(wanted[:3])}, …), separated by commas."
        )
    if missing:
        raise UserError(
            f"{path} lacks {len(missing)} of the {len(wanted)} features of the model "
            f"({', '.join(missing[:5])}{', …' if len(missing) > 5 else ''}); add them as columns."
        )
    n_extra = len(names) - len(wanted)
    if n_extra:
        extra = sorted(places.keys() - set(wanted))
        _log.warning("%s: %s ignored: %s", path, counted(n_extra, "column"), listed(extra))
    return [places[name] for name in wanted]
