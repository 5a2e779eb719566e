"""JSON lines: one object per line."""

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from mlc.data.lines import NumberedLines
from mlc.data.table_file.base import Chunk, TableFile, composed
from mlc.errors import UserError


class JsonLinesFile(TableFile):
    """A text file with one JSON object per line; its keys are the columns.

    The columns are the keys of all rows: a row without a key has None there. So the file is read once to find
    them, and again for its rows. Blank lines are skipped.

    Args:
        path: the file, in UTF-8.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        names: dict[str, None] = {}
        for _, row in self._records():
            names.update(dict.fromkeys(row))
        if not names:
            raise UserError(f'{path} has no rows; write one object a line, such as {{"text": "…"}}.')
        super().__init__(path, tuple(names))

    def chunks(self, columns: Sequence[str], *, chunk_rows: int) -> Iterator[Chunk]:
        """See TableFile."""
        records = self._records()
        while chunk := list(islice(records, chunk_rows)):
            cells = {name: [row.get(name) for _, row in chunk] for name in columns}
            yield Chunk(cells, [line for line, _ in chunk])

    def _records(self) -> Iterator[tuple[int, dict[str, Any]]]:
        n_blank = 0
        with open(self.path, "rb") as file:
            lines = NumberedLines(file, self.path)
            for line in lines:
                if line.strip():
                    self.n_blank = n_blank
                    yield lines.number, self._parse(line, lines)
                else:
                    n_blank += 1

    def _parse(self, line: str, lines: NumberedLines) -> dict[str, Any]:
        try:
            row = json.loads(line, object_pairs_hook=_unique)
        except _TwiceError as error:
            raise lines.error(f"the key {error} stands twice in the object; rename one of them.") from None
        except (ValueError, RecursionError) as error:  # also numbers of thousands of digits
            reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error).partition(";")[0]
            raise lines.error(
                f"the line is not valid JSON ({reason}); write one whole object on each line."
            ) from error
        if not isinstance(row, dict):
            raise lines.error(f'the line is {_kind(row)}, not an object such as {{"text": "…"}}.')
        if "\\u" in line and not _is_text(row):
            raise lines.error(r"an escape \u… is no character of its own; write the character itself.")
        return row


class _TwiceError(Exception):
    """A key that stands twice in one object."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        name = composed(key.strip())
        if name in found:
            raise _TwiceError(repr(name))
        found[name] = value
    return found


def _is_text(row: dict[str, Any]) -> bool:
    """Whether all strings can be written as UTF-8: no NUL, no half of a surrogate pair."""
    try:
        written = json.dumps(row, ensure_ascii=False)
        written.encode()
    except (UnicodeEncodeError, RecursionError):
        return False
    return "\\u0000" not in written.replace(r"\\", "")


def _kind(value: object) -> str:
    kinds = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")
