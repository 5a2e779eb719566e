"""Parquet files, read by pyarrow (the extra `parquet`)."""

import zoneinfo
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mlc.data.table_file.base import Cell, Chunk, TableFile, composed
from mlc.errors import UserError


class ParquetTable(TableFile):
    """A Parquet file; the place of a row is its number, from 1.

    Args:
        path: the file.
    """

    unit: ClassVar[str] = "row"

    def __init__(self, path: Path) -> None:
        try:
            from pyarrow import ArrowException
            from pyarrow.parquet import ParquetFile
        except ImportError:
            raise UserError(
                f"{path}: Parquet is read by pyarrow, which is not installed; "
                "install it with: pip install mlc[parquet], or write the table as CSV or JSON lines."
            ) from None
        self._errors = (ArrowException, OSError)
        try:
            self._file = ParquetFile(path)
            stored = self._file.schema_arrow.names
        except self._errors as error:
            raise self._damaged(path, error) from error
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: the name of a column is not UTF-8; write the file anew.") from error
        # The name in the file of every column, by its composed name.
        self._stored = {composed(name.strip()): name for name in stored}
        if len(self._stored) < len(stored):
            raise UserError(f"{path} has two columns with the same name; rename one of them.")
        if not stored:
            raise UserError(f"{path} has no columns; write a table into it.")
        super().__init__(path, tuple(self._stored))

    def chunks(self, columns: Sequence[str], *, chunk_rows: int) -> Iterator[Chunk]:
        """See TableFile; a null is None."""
        stored = [self._stored[column] for column in columns]
        start = 1
        try:
            for batch in self._file.iter_batches(chunk_rows, columns=stored):
                cells = {
                    name: self._cells(name, batch.column(batch.schema.get_field_index(stored_name)), start)
                    for name, stored_name in zip(columns, stored, strict=True)
                }
                if batch.num_rows:
                    yield Chunk(cells, range(start, start + batch.num_rows))
                start += batch.num_rows
        except self._errors as error:
            raise self._damaged(self.path, error) from error

    def _cells(self, name: str, column: Any, start: int) -> list[Cell]:
        """The cells of a column from row `start` on."""
        from pyarrow import ArrowException, types

        if types.is_timestamp(column.type) and column.type.unit == "ns":  # finer than Python's dates
            from pyarrow import timestamp

            column = column.cast(timestamp("us", column.type.tz), safe=False)
        # KeyError: a time zone that nobody knows.
        wrong = (ArrowException, ValueError, OverflowError, KeyError)
        try:
            return list(column.to_pylist())
        except wrong as error:
            for row, cell in enumerate(column, start):
                try:
                    cell.as_py()
                except UnicodeDecodeError:
                    raise self.error(f"{name} is not UTF-8; write the file anew.", place=row) from error
                except wrong as reason:
                    raise self.error(
                        f"{name} cannot be read ({_unknown_zone(column.type) or _line(reason)}); "
                        "write it as a text or a number.",
                        place=row,
                    ) from error
            raise self._damaged(self.path, error) from error

    @staticmethod
    def _damaged(path: Path, error: Exception) -> UserError:
        return UserError(f"{path} is no whole Parquet file ({_line(error)}); write it anew.")


def _unknown_zone(kind: Any) -> str:
    """Which time zone of a column nobody knows, of which pyarrow says something else; else nothing."""
    name = getattr(kind, "tz", None)
    if name is None or name[:1] in "+-" or name in zoneinfo.available_timezones():
        return ""
    return f"there is no time zone {name}"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
