"""Which reader reads which file."""

from collections.abc import Callable
from pathlib import Path

from mlc.data.regular_file import check_file
from mlc.data.table_file.base import TableFile
from mlc.data.table_file.delimited import DelimitedFile
from mlc.data.table_file.json_lines import JsonLinesFile
from mlc.data.table_file.parquet import ParquetTable
from mlc.errors import UserError


def open_table(path: Path) -> TableFile:
    """Open a table and read the names of its columns.

    Args:
        path: a .csv, .tsv, .tab, .jsonl, .ndjson, .parquet or .pq file.

    Raises:
        UserError: the file is missing, no regular file, of another kind, or its header is malformed.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise UserError(
            f"{path}: tables are read from {', '.join(_READERS)} files; convert it to one of them."
        )
    check_file(path)
    return reader(path)


def _csv(path: Path) -> TableFile:
    return DelimitedFile(path, delimiters=",;\t")


def _tsv(path: Path) -> TableFile:
    return DelimitedFile(path, delimiters="\t")


_READERS: dict[str, Callable[[Path], TableFile]] = {
    ".csv": _csv,
    ".tsv": _tsv,
    ".tab": _tsv,
    ".jsonl": JsonLinesFile,
    ".ndjson": JsonLinesFile,
    ".parquet": ParquetTable,
    ".pq": ParquetTable,
}
