"""Text in CSV files that a spreadsheet will open: it must stay text.

A spreadsheet takes a cell that begins with =, +, - or @ for a formula, and a formula may send the sheet to
another computer or start a program. Labels and file names come from data, so from strangers.

Source: OWASP, "CSV Injection".
"""

import re

# The full-width signs count as the plain ones where East Asian text is written.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


def safe_cell(text: str) -> str:
    """The text as a cell that no spreadsheet computes.

    What a spreadsheet would take for a formula gets an apostrophe in front. Numbers stay as they are. A text
    that would be one of these but for its own apostrophes gets one more, so that `text_of` is exact.

    The promise holds for files that are read with the comma as separator, as they are written.
    """
    return f"'{text}" if _is_formula(text) else text


def text_of(cell: str) -> str:
    """The text that `safe_cell` made this cell of."""
    return cell[1:] if cell.startswith("'") and _is_formula(cell[1:]) else cell


def _is_formula(text: str) -> bool:
    return _FORMULA.match(text) is not None and _NUMBER.fullmatch(text) is None
