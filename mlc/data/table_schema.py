"""Which columns of a table become numbers and which categories, and the codes of their cells."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from mlc.data.categories import OTHER, spellings
from mlc.data.examples import Codes
from mlc.data.notes import counted, listed
from mlc.data.schema import Attribute, Floats, Schema
from mlc.data.table_columns import categories, category_or_none, number_or_none, numbers
from mlc.data.table_file.base import Chunk, TableFile
from mlc.errors import UserError

Kind = Literal["number", "category"]
Kinds = Mapping[str, Kind]  # of each column, in order
_CHUNK_ROWS = 4096


def declared_kinds(*, numeric: Sequence[str], nominal: Sequence[str]) -> Kinds:
    """The kinds that are given: the columns of numbers first, and then those of categories."""
    kinds: dict[str, Kind] = {}
    kinds.update(dict.fromkeys(numeric, "number"))
    kinds.update(dict.fromkeys(nominal, "category"))
    return kinds


def found_kinds(table: TableFile, columns: Sequence[str], *, most: int) -> tuple[Kinds, list[str]]:
    """The kinds of columns, found out from all rows.

    A column is numeric if all its values are numbers, and a category if it has at most `most` values, which
    recur: they are at most half as many as the rows. A column without any value is left out.

    The kind, and nothing else, is seen before the rows are split, because the rows can be read only by it.
    Which values a category has is fitted on the training rows.

    Args:
        table: the file.
        columns: the columns that may be inputs.
        most: a category has at most this many values.

    Returns:
        The kinds and notes on what was taken.

    Raises:
        UserError: a column is neither; says what to do.
    """
    looks = {name: _Look(name, most) for name in columns}
    n_rows = 0
    for chunk in table.chunks(columns, chunk_rows=_CHUNK_ROWS):
        n_rows += len(chunk.places)
        for look in looks.values():
            look.add(chunk)
    kinds = {name: look.kind(table, n_rows) for name, look in looks.items() if look.has_values}
    notes = []
    for kind, as_what in (("number", "numbers"), ("category", "categories")):
        names = [name for name in kinds if kinds[name] == kind]
        if names:
            taken = counted(len(names), "column is", "columns are")
            notes.append(f"{taken} taken as {as_what}: {listed(names)}.")
    empty = [name for name, look in looks.items() if not look.has_values]
    if empty:
        without = counted(len(empty), "column without any value is", "columns without any value are")
        notes.append(f"{without} left out: {listed(empty)}.")
    return kinds, notes


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
            value = category_or_none(cell)
            if value == "":
                continue
            number = number_or_none(cell)
            if number is None or not np.isnan(number):  # what is no number can still be a value, as "none" is
                self.has_values = True
                self._all_numbers &= number is not None
            if self._values is not None and value is not None:
                self._values.add(value)
            if value is None or len(self._values or ()) > self._most:
                self._values = None

    def kind(self, table: TableFile, n_rows: int) -> Kind:
        if self._all_numbers:
            return "number"
        if self._values is not None and 2 * len(self._values) <= n_rows:
            return "category"
        raise UserError(
            f"{table.path}: the column {self._name} is neither numbers nor a category of few values; if it "
            f"is text, set dataset.text={self._name}, and else name the inputs in dataset.numbers and "
            "dataset.categories."
        )


class CellCoder(ABC):
    """Cells of numeric and nominal columns as codes, see Schema.

    Args:
        kinds: the columns.
    """

    def __init__(self, kinds: Kinds) -> None:
        self.kinds = kinds
        self.n_unseen = 0  # values that have no code of their own

    def __call__(self, table: TableFile, chunk: Chunk) -> Floats:
        """The codes of a few rows, B×A."""
        codes_BA = np.empty((len(chunk.places), len(self.kinds)))
        for column, (name, kind) in enumerate(self.kinds.items()):
            if kind == "number":
                codes_BA[:, column] = numbers(table, name, chunk)
            else:
                codes_BA[:, column] = [self._code(name, value) for value in categories(table, name, chunk)]
        return codes_BA

    @abstractmethod
    def _code(self, name: str, value: str) -> float:
        """The code of a value of a category; NaN where it is missing."""

    @abstractmethod
    def finish(self, table: TableFile, codes_NA: Floats) -> Codes:
        """All rows with what their codes mean.

        Raises:
            UserError: a category has no value in any row.
        """


class KnownValues(CellCoder):
    """By a schema. A value that it lacks is counted, and missing, or "(other)" where the schema has that.

    Args:
        schema: the columns.
    """

    def __init__(self, schema: Schema) -> None:
        super().__init__({a.name: "category" if a.values else "number" for a in schema.attributes})
        self._schema = schema
        self._codes = {a.name: spellings(a) for a in schema.attributes if a.values}

    def _code(self, name: str, value: str) -> float:
        codes = self._codes[name]
        if value == "" or value in codes:
            return codes.get(value, np.nan)
        self.n_unseen += 1
        return codes.get(OTHER, np.nan)

    def finish(self, table: TableFile, codes_NA: Floats) -> Codes:
        """See CellCoder."""
        return Codes(self._schema, codes_NA)


class NewValues(CellCoder):
    """A category has the values that its cells have; a model later knows those of the training rows.

    Args:
        kinds: the columns.
        most: a model knows so many values of a category at most; see Codes.
    """

    def __init__(self, kinds: Kinds, *, most: int) -> None:
        super().__init__(kinds)
        self._most = most
        self._values: dict[str, dict[str, int]] = {name: {} for name in kinds}

    def _code(self, name: str, value: str) -> float:
        return self._values[name].setdefault(value, len(self._values[name])) if value else np.nan

    def finish(self, table: TableFile, codes_NA: Floats) -> Codes:
        """See CellCoder."""
        for name, kind in self.kinds.items():
            if kind == "category" and not self._values[name]:
                raise UserError(f"{table.path}: the category {name} has no value in any row; leave it out.")
        attributes = [Attribute(name, tuple(self._values[name])) for name in self.kinds]
        return Codes(Schema(tuple(attributes)), codes_NA, self._most)
