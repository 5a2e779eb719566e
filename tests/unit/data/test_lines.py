from io import BytesIO
from pathlib import Path

import pytest

from mlc.data.lines import NumberedLines
from mlc.errors import UserError

PATH = Path("some.txt")


def test_lines_are_decoded_and_numbered_from_one() -> None:
    lines = NumberedLines(BytesIO("a\nä\nb".encode()), PATH)
    assert [(lines.number, line) for line in lines] == [(1, "a\n"), (2, "ä\n"), (3, "b")]


def test_byte_order_mark_is_dropped() -> None:
    assert list(NumberedLines(BytesIO(b"\xef\xbb\xbfname\n"), PATH)) == ["name\n"]


def test_bytes_that_are_not_utf8_name_their_own_line() -> None:
    lines = NumberedLines(BytesIO(b"a\nb\n\xe9\nc\n"), PATH)
    with pytest.raises(UserError, match=r"some\.txt, line 3: the text is not UTF-8"):
        list(lines)
