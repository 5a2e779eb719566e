"""The lines of a text file with their numbers, so that every complaint can say where."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from mlc.errors import UserError


class NumberedLines:
    """The lines of an open UTF-8 file, decoded one at a time.

    Decoding line by line, rather than in blocks as `open(..., encoding=...)` does, keeps `number` exact when
    a line is not UTF-8.

    Args:
        file: the file, open in binary mode.
        path: its path, for messages.
    """

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.number = 0
        self._file = file
        self._path = path

    def __iter__(self) -> Iterator[str]:
        for raw in self._file:
            self.number += 1
            try:
                # Spreadsheets put a byte-order mark before the first line.
                yield raw.decode("utf-8-sig" if self.number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise self.error("the text is not UTF-8; convert the file to UTF-8.") from error

    def error(self, problem: str) -> UserError:
        """The error that says that `problem` is at the line given last."""
        return UserError(f"{self._path}, line {self.number}: {problem}")
