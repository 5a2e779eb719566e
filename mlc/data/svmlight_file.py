"""A file in svmlight format, plain or with the header line of extreme classification, read block by block.

A plain file has a row per line; lines that hold nothing or only a comment are skipped. The first line of an
extreme-classification file says how many rows, features and labels there are; each line after it is a row,
an empty one too, because such a row has neither labels nor features.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlc.data.regular_file import check_file
from mlc.data.svmlight_block import LARGEST_ID, Block, Limits, LineError, parse
from mlc.errors import UserError

_BLOCK_BYTES = 2**18  # what is made of it stays in the processor's cache
_HEADER = re.compile(rb"\s*([0-9]{1,10})\s+([0-9]{1,10})\s+([0-9]{1,10})\s*")
MOST_LABELS = 5_000_000  # each has a name, a threshold and a line in the results
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Header:
    """The header line: numbers of rows, features and labels."""

    rows: int
    features: int
    labels: int


@dataclass(frozen=True)
class Sizes:
    """How much a file holds at most, counted without parsing."""

    rows: int
    pairs: int
    labels: int


class SvmlightFile:
    """An svmlight file whose header, if it has one, is read.

    Args:
        path: the file.

    Raises:
        UserError: there is no regular file, or its header has a zero or a number that is too large.
    """

    def __init__(self, path: Path) -> None:
        check_file(path, wanted="name a file in svmlight format")
        self.path = path
        self.header, self._lines_before, self._offset = self._read_header()

    def _read_header(self) -> tuple[Header | None, int, int]:
        """The header, how many lines end with it, and the byte after it; 0 and the first byte without one."""
        with open(self.path, "rb") as file:
            start = len(_BYTE_ORDER_MARK) if file.read(len(_BYTE_ORDER_MARK)) == _BYTE_ORDER_MARK else 0
            file.seek(start)
            number = 0
            while line := file.readline(_BLOCK_BYTES):
                number += 1
                content = line.partition(b"#")[0].strip()
                if found := _HEADER.fullmatch(content):
                    return self._checked(Header(*map(int, found.groups())), number), number, file.tell()
                if content or not line.endswith(b"\n"):
                    break
        return None, 0, start

    def _checked(self, header: Header, line: int) -> Header:
        if not (header.rows and header.features and header.labels):
            raise UserError(
                f"{self.path}, line {line}: the header says {header.rows} rows, {header.features} features "
                f"and {header.labels} labels; write how many there are of each."
            )
        for count, most, what in (
            (header.features, LARGEST_ID, "features"),
            (header.labels, MOST_LABELS, "labels"),
        ):
            if count > most:
                raise UserError(
                    f"{self.path}, line {line}: the header says {count} {what}, and {most} are the most that "
                    "can be read; correct the header, or keep the more frequent ones."
                )
        return header

    def sizes(self) -> Sizes:
        """Upper bounds of what the file holds, from counting separators."""
        rows, pairs, labels = 1, 0, 0
        with open(self.path, "rb") as file:
            file.seek(self._offset)
            while piece := file.read(_BLOCK_BYTES):
                rows += piece.count(b"\n")
                pairs += piece.count(b":")
                labels += piece.count(b",")
        return Sizes(rows, pairs, labels + rows)

    def blocks(self, limits: Limits) -> Iterator[Block]:
        """Parse the file, some hundred lines at a time.

        Raises:
            UserError: a line is malformed; names it. Or the header and the lines do not fit.
        """
        lines_seen, n_rows = self._lines_before, 0
        for text in self._texts():
            try:
                block = parse(text, limits)
            except LineError as error:
                line = lines_seen + error.line + 1
                raise UserError(f"{self.path}, line {line}: {error}") from error
            lines_seen += len(block)
            block = self._rows_of(block, n_rows)
            n_rows += len(block)
            yield block
        if self.header is not None and n_rows != self.header.rows:
            raise UserError(
                f"{self.path} has {n_rows} rows, but its header says {self.header.rows}; correct the header "
                "or take the whole file."
            )

    def _texts(self) -> Iterator[bytes]:
        """The file in blocks of whole lines, each ended by a newline."""
        pieces: list[bytes] = []  # of a line that goes on
        with open(self.path, "rb") as file:
            file.seek(self._offset)
            while piece := file.read(_BLOCK_BYTES):
                lines, newline, tail = piece.rpartition(b"\n")
                if newline:
                    yield b"".join([*pieces, lines, newline])
                    pieces = []
                pieces.append(tail)
        if any(pieces):
            yield b"".join([*pieces, b"\n"])

    def _rows_of(self, block: Block, rows_before: int) -> Block:
        """The lines that are rows: all but blank ones; with a header, all but blank ones after the last."""
        is_row_R = ~block.blank_R
        if self.header is not None:
            is_row_R[: max(0, self.header.rows - rows_before)] = True
        return block if is_row_R.all() else block.without_blank(~is_row_R)
