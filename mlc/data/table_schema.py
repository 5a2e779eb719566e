"""Which columns of a table become numbers and which categories, and the codes of their cells."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from mlc.data.notes import listed
from mlc.data.schema import Attribute, Floats, Schema
from mlc.data.table_columns import categories, category_or_none, number_or_none, numbers
from mlc.data.table_file.base import Chunk, TableFile
from mlc.errors import UserError

OTHER = "(other)"  # stands for all values of a category that are too rare to be one of their own
_CHUNK_ROWS = 4096


def declared_schema(
    table: TableFile, *, numeric: Sequence[str], nominal: Sequence[str], most: int
) -> tuple[Schema, list[str]]:
    """The schema of columns whose kinds are known; the values of a category are those of all rows.

    Args:
        table: the file.
        numeric: the columns of numbers.
        nominal: the columns of categories.
        most: a category keeps this many values, the most frequent ones; the rest become "(other)".

    Returns:
        The schema, numbers first, and notes on what became "(other)".

    Raises:
        UserError: a category has no value, or a cell is no value; says where.
    """
    counts: dict[str, Counter[str]] = {name: Counter() for name in nominal}
    if nominal:
        for chunk in table.chunks(nominal, chunk_rows=_CHUNK_ROWS):
            for name, count in counts.items():
                count.update(categories(table, name, chunk))
    attributes = [Attribute(name) for name in numeric]
    notes = []
    for name, count in counts.items():
        del count[""]
        if not count:
            raise UserError(f"{table.path}: the category {name} has no value in any row; leave it out.")
        by_count = sorted(count, key=lambda value: (-count[value], value))
        values = sorted(by_count[:most])
        if len(by_count) > most:
            n_rows = sum(count[value] for value in by_count[most:])
            notes.append(
                f"{name} has {len(by_count)} values; the {most} most frequent ones are kept, and the others, "
                f"in {n_rows} rows, became {OTHER}."
            )
            values = sorted({*values, OTHER})
        attributes.append(Attribute(name, tuple(values)))
    return Schema(tuple(attributes)), notes


def found_schema(table: TableFile, columns: Sequence[str], *, most: int) -> tuple[Schema, list[str]]:
    """The schema of columns whose kinds are found out.

    A column is numeric if all its values are numbers, and a category if it has at most `most` values, which
    recur: they are at most half as many as the rows. A column without any value is left out.

    Args:
        table: the file.
        columns: the columns that may be inputs.
        most: a category has at most this many values.

    Returns:
        The schema and notes on what was taken.

    Raises:
        UserError: a column is neither; says what to do.
    """
    looks = {name: _Look(name, most) for name in columns}
    n_rows = 0
    for chunk in table.chunks(columns, chunk_rows=_CHUNK_ROWS):
        n_rows += len(chunk.places)
        for look in looks.values():
            look.add(chunk)
    attributes = [look.attribute(table, n_rows) for look in looks.values() if look.has_values]
    notes = []
    for kind, names in (
        ("numbers", [attribute.name for attribute in attributes if not attribute.values]),
        ("categories", [attribute.name for attribute in attributes if attribute.values]),
    ):
        if names:
            notes.append(f"{len(names)} columns are taken as {kind}: {listed(names)}.")
    empty = [name for name, look in looks.items() if not look.has_values]
    if empty:
        notes.append(f"{len(empty)} columns without any value are left out: {listed(empty)}.")
    return Schema(tuple(attributes)), notes


class _Look:
    """What a column has shown so far."""

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self._all_numbers = True
        self._values: set[str] | None = set()  # None once they are too many
        self.has_values = False

    def add(self, chunk: Chunk) -> None:
        for cell in chunk.cells[self._name]:
            number = number_or_none(cell)
            if number is not None and np.isnan(number):
                continue
            value = category_or_none(cell)
            if value == "":
                continue
            self.has_values = True
            self._all_numbers &= number is not None
            if self._values is not None and value is not None:
                self._values.add(value)
            if value is None or len(self._values or ()) > self._most:
                self._values = None

    def attribute(self, table: TableFile, n_rows: int) -> Attribute:
        if self._all_numbers:
            return Attribute(self._name)
        if self._values is not None and 2 * len(self._values) <= n_rows:
            return Attribute(self._name, tuple(sorted(self._values)))
        raise UserError(
            f"{table.path}: the column {self._name} is neither numbers nor a category of few values; if it "
            f"is text, set dataset.text={self._name}, and else name the inputs in dataset.numbers and "
            "dataset.categories."
        )


class Encoder:
    """Cells as codes, see Schema. A value that the schema lacks is missing, or "(other)" where it has that.

    Args:
        schema: the columns.
    """

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.n_unseen = 0  # values that the schema lacks
        self._codes = [_codes_of(attribute) for attribute in schema.attributes]

    def __call__(self, table: TableFile, chunk: Chunk) -> Floats:
        """The codes of a few rows, B×A."""
        codes_BA = np.empty((len(chunk.places), len(self.schema.attributes)))
        for column, (attribute, codes) in enumerate(zip(self.schema.attributes, self._codes, strict=True)):
            if not attribute.values:
                codes_BA[:, column] = numbers(table, attribute.name, chunk)
                continue
            for row, value in enumerate(categories(table, attribute.name, chunk)):
                self.n_unseen += value != "" and value not in codes
                codes_BA[row, column] = codes.get(value, codes[""] if value == "" else codes[OTHER])
        return codes_BA


def _codes_of(attribute: Attribute) -> dict[str, float]:
    """The code of every spelling of a value (1 may be written as 1.0), of "" and of all other values."""
    codes = {"": np.nan, OTHER: np.nan}
    for code, value in enumerate(attribute.values):
        codes[value] = code
        if value.isdecimal():
            codes.setdefault(f"{value}.0", code)
    return codes
