"""The nine targets: what each asks for, what was measured, reached or missed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Line:
    """One line of the table.

    Args:
        target: its number and what it asks for.
        measured: in words, with the interval.
        reached: None where it was not measured.
    """

    target: str
    measured: str
    reached: bool | None


def table(lines: Sequence[Line]) -> str:
    """The lines in Markdown."""
    verdicts = {True: "reached", False: "**missed**", None: "not measured"}
    rows = [f"| {line.target} | {line.measured} | {verdicts[line.reached]} |" for line in lines]
    return "\n".join(["| target | measured | |", "|---|---|---|", *rows])


def at_least(target: str, wanted: float, value: float, words: str) -> Line:
    """A line whose value must not be smaller."""
    return Line(f"{target} ≥ {wanted:g}", words, value >= wanted)


def at_most(target: str, wanted: float, value: float, words: str) -> Line:
    """A line whose value must not be larger."""
    return Line(f"{target} ≤ {wanted:g}", words, value <= wanted)


def plain(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """The lines as plain values."""
    return [vars(line) for line in lines]
