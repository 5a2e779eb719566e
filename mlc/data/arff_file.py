"""Reading an ARFF file, dense or sparse, as coded rows with their line numbers."""

import csv
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import arff
import numpy as np

from mlc.data.lines import NumberedLines
from mlc.data.schema import LARGEST, Attribute, Floats
from mlc.errors import UserError

_VALUE = r"""(?:"[^"]*"|'[^']*'|[^\s,{}'"]+)"""
_NOMINAL_LINE = re.compile(rf"@attribute\s.*\{{\s*{_VALUE}\s*(?:,\s*{_VALUE}\s*)*\}}\s*$", re.IGNORECASE)
_IMPLICIT = 0.0  # what a sparse row leaves out: the number 0, or the first nominal value

_PROBLEMS = {
    arff.BadRelationFormat: "the @relation line is not valid",
    arff.BadAttributeFormat: "the @attribute line is not valid",
    arff.BadAttributeType: "the attribute is not numeric, real, integer or a list of values in braces",
    arff.BadAttributeName: "an attribute of this name was declared before",
    arff.BadLayout: "the line is not valid ARFF, or does not belong here (was the file cut short?)",
    arff.BadDataFormat: "the row does not have one value per attribute (was the file cut short?)",
    arff.BadNominalValue: "a value is not among those that its attribute declares",
    arff.BadNumericalValue: "a value is not a number",
}
# What liac-arff lets through besides its own errors: bad numbers, numbers too large, cells it cannot split.
_PARSER_ERRORS = (arff.ArffException, ValueError, OverflowError, csv.Error)


class ArffFile:
    """An ARFF file whose header has been read.

    Parsed with liac-arff, which reads the largest MULAN files in about a second as long as sparse rows stay
    sparse; so the first data row decides how all are read.

    Args:
        path: the file.

    Raises:
        UserError: the header is not valid, there is no @data line, or an attribute holds text or dates.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with open(path, "rb") as file:
            lines = NumberedLines(file, path)
            text = _checked_header(lines)
            declared = _parse(lines, text, arff.DENSE_GEN)["attributes"]
            first_row = next((line for line in text if line.strip() and line.lstrip()[0] != "%"), "")
        self._layout = arff.LOD_GEN if first_row.lstrip().startswith("{") else arff.DENSE_GEN
        self.attributes = tuple(self._attribute(name, kind) for name, kind in declared)

    def _attribute(self, name: str, kind: str | list[str]) -> Attribute:
        if kind == "STRING":
            raise UserError(
                f"{self._path}: the attribute {name} holds text; only numbers and values can be read."
            )
        return Attribute(name=name, values=() if isinstance(kind, str) else tuple(kind))

    def chunks(self, chunk_rows: int) -> Iterator[tuple[Floats, list[int]]]:
        """Read the rows, at most `chunk_rows` at a time.

        Returns:
            Pairs of codes_NA (see Schema) and the line number of each of the N rows.

        Raises:
            UserError: a row is cut, too long or too short, or has a value that does not belong there.
        """
        with open(self._path, "rb") as file:
            lines = NumberedLines(file, self._path)
            rows = self._coded_rows(lines, _parse(lines, _without_cut_rows(lines), self._layout)["data"])
            while chunk := list(islice(rows, chunk_rows)):
                codes, numbers = zip(*chunk, strict=True)
                yield np.stack(codes), list(numbers)

    def _coded_rows(self, lines: NumberedLines, rows: Iterator[Any]) -> Iterator[tuple[Floats, int]]:
        while True:
            try:
                row = next(rows)
                codes_A = self._codes(row)
            except StopIteration:
                return
            except _PARSER_ERRORS as error:
                raise _complaint(lines, error, otherwise="a value is not a number") from error
            if (np.abs(codes_A) > LARGEST).any():
                raise lines.error("a value is infinite or too large for float32; if it is missing, write ?.")
            yield codes_A, lines.number

    def _codes(self, row: list[float | None] | dict[int, float | None]) -> Floats:
        """One row as liac-arff gives it (None is a missing value) as codes."""
        if not isinstance(row, dict):
            return np.array(row, dtype=np.float64)
        codes_A = np.full(len(self.attributes), _IMPLICIT)
        codes_A[list(row)] = np.array(list(row.values()), dtype=np.float64)
        return codes_A


def _parse(lines: NumberedLines, text: Iterator[str], layout: int) -> dict[str, Any]:
    """Let liac-arff read the header from `text`; its "data" then reads on."""
    try:
        parsed: dict[str, Any] = arff.load(text, encode_nominal=True, return_type=layout)
    except _PARSER_ERRORS as error:
        complaint = _complaint(lines, error, otherwise="the line is not valid")
        if next(text, None) is None:
            complaint = lines.error("there is no @data line; the file was probably cut short.")
        raise complaint from error
    return parsed


def _without_cut_rows(lines: NumberedLines) -> Iterator[str]:
    """The lines; liac-arff reads the nothing after a last comma as a missing value."""
    for line in lines:
        if line.rstrip().endswith(",") and not line.lstrip().startswith(("%", "@")):
            raise lines.error(
                "the row ends in a comma (was the file cut short?); a missing value is written ?."
            )
        yield line


def _checked_header(lines: NumberedLines) -> Iterator[str]:
    """The lines, with every list of values checked before liac-arff sees it.

    On a list that lacks its closing brace the regular expression of liac-arff takes time exponential in the
    number of values, so that a cut file would seem to hang.
    """
    in_header = True
    for line in lines:
        start = line.lstrip().lower()
        in_header = in_header and not start.startswith("@data")
        if (
            in_header
            and start.startswith("@attribute")
            and "{" in line
            and not _NOMINAL_LINE.match(line.strip())
        ):
            raise lines.error("the list of values in braces is not valid (was the file cut short?).")
        yield line


def _complaint(lines: NumberedLines, error: Exception, *, otherwise: str) -> UserError:
    return lines.error(_PROBLEMS.get(type(error), otherwise) + ".")
