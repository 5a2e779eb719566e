"""A value as a message shows it: short, in one line, and harmless to a terminal."""

from typing import Any

from mlc.training.text_table import printable

_LONGEST = 200


def shown(value: Any) -> str:
    """The value as a person would write it in a config; what is long is cut."""
    if value is None:
        return "null"
    try:
        text = str(value)
    except (ValueError, RecursionError):  # whole numbers of more than 4300 digits; nesting
        return f"a {type(value).__name__} too long to show"
    return printable(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")
