import csv
import io

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlc.training.csv_cells import safe_cell, text_of

FORMULAS = [
    "=1+1",
    "+1+1",
    "-1+1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "＝1+1",
    "-",
    "+a",
    "--1",
    "-1e",
    "=",
    "'=1",
]
PLAIN = ["", "a", "a=b", "1", "-1", "+1", "-.5", "+1.", "-1.5e-07", "1e5", "'", "'a", "it's", " -1", "größe"]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_gets_an_apostrophe(text: str) -> None:
    assert safe_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", PLAIN)
def test_text_and_numbers_stay_as_they_are(text: str) -> None:
    assert safe_cell(text) == text


@given(st.one_of(st.text(alphabet="'=+-@\t\r\n1.eEａ＝ ab"), st.text()))
@example("'=1")
@example("''=1")
@example("'-1")
@settings(max_examples=300, deadline=None)
def test_every_text_comes_back_and_none_is_a_formula(text: str) -> None:
    cell = safe_cell(text)
    assert text_of(cell) == text
    assert cell[:1] not in ("=", "@", "\t", "\r")
    assert cell[:1] not in ("+", "-") or float(cell) == float(text)
    file = io.StringIO(newline="")
    csv.writer(file).writerow([cell, "x"])
    file.seek(0)
    assert next(csv.reader(file)) == [cell, "x"]
