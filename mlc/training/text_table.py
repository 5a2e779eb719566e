"""Tables of plain text for a terminal."""

import unicodedata
from collections.abc import Sequence

LONGEST_NAME = 32
_OVERRIDES = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def printable(text: str) -> str:
    """The same text with the signs spelt out that would command a terminal, or turn the line around."""
    return "".join(
        sign.encode("unicode_escape").decode()
        if unicodedata.category(sign) == "Cc" or sign in _OVERRIDES
        else sign
        for sign in text
    )


def align(rows: Sequence[Sequence[str]]) -> str:
    """Columns in line: the first to the left, the others, which are numbers, to the right."""
    widths = [max(_width(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for first, *rest in rows:
        padded = [first + " " * (widths[0] - _width(first))]
        padded += [" " * (width - _width(cell)) + cell for cell, width in zip(rest, widths[1:], strict=True)]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def shorten(name: str, longest: int = LONGEST_NAME) -> str:
    """A name in one line of at most so many characters."""
    line = printable(" ".join(name.split()))
    return line if len(line) <= longest else f"{line[: longest - 3]}..."


def _width(text: str) -> int:
    """Columns that a text takes on a terminal: two for each Chinese, Japanese or Korean character."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
