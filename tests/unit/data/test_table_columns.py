import datetime
import math
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlc.data import table_columns as columns
from mlc.data.examples import TEST, TRAIN, VALID
from mlc.data.table_file.base import Chunk
from mlc.errors import UserError
from tests.unit.data.table_file.test_base import Empty

TABLE = Empty(Path("ads.csv"), ["c"])
NAN = math.nan


def times_of(table: Any, column: str, its: Chunk) -> Any:
    return columns.Times()(table, column, its)


def chunk(*cells: object) -> Chunk:
    return Chunk({"c": cells}, range(10, 10 + len(cells)))


def test_numbers_and_how_they_are_missing() -> None:
    cells = ["1", " -2.5e1 ", "", "?", "NaN", "n/a", "NULL", None, NAN, 3, True, Decimal("0.5")]
    expected = [1, -25, *[NAN] * 7, 3, 1, 0.5]
    np.testing.assert_array_equal(columns.numbers(TABLE, "c", chunk(*cells)), expected)


def test_texts_are_kept_as_they_are() -> None:
    assert columns.texts(TABLE, "c", chunk(" a\n", "", "  ", "?", None, NAN)) == [" a\n", "", "", "?", "", ""]


def test_categories_are_names() -> None:
    cells = [" x ", "?", "", None, NAN, 3, 3.0, 0.5, True, datetime.date(2024, 5, 31)]
    expected = ["x", "", "", "", "", "3", "3", "0.5", "true", "2024-05-31"]
    assert columns.categories(TABLE, "c", chunk(*cells)) == expected


def test_na_and_none_are_values_of_a_category_and_missing_numbers() -> None:
    cells = ["NA", "none", "NaN", "null", "N/A", "?", ""]
    assert columns.categories(TABLE, "c", chunk(*cells)) == ["NA", "none", "", "", "", "", ""]
    assert np.isnan(columns.numbers(TABLE, "c", chunk(*cells))).all()


def test_paths_are_stripped() -> None:
    assert columns.paths(TABLE, "c", chunk(" a/b.png")) == ["a/b.png"]


def test_parts_and_their_spellings() -> None:
    found = columns.parts(TABLE, "c", chunk("train", " Validation", "dev", "VAL", "valid", "test"))
    assert found.tolist() == [TRAIN, VALID, VALID, VALID, VALID, TEST]


def test_weights_are_0_or_more() -> None:
    assert columns.weights(TABLE, "c", chunk("0", 2)).tolist() == [0, 2]


def test_times_as_numbers() -> None:
    assert columns.Times()(TABLE, "c", chunk("2023.5", 7)).tolist() == [2023.5, 7]


def test_times_as_dates() -> None:
    zone = datetime.timezone(datetime.timedelta(hours=2))
    cells = [
        "1970-01-02",
        "1970-01-01T00:01",
        "1970-01-01T02:00:00+02:00",
        datetime.date(1970, 1, 3),
        datetime.datetime(1970, 1, 1, 2, 0, 5, tzinfo=zone),
    ]
    assert columns.Times()(TABLE, "c", chunk(*cells)).tolist() == [86400, 60, 0, 2 * 86400, 5]


@pytest.mark.parametrize(
    ("read", "cell", "message"),
    [
        (columns.numbers, "3,5", "c is '3,5', not a number"),
        (columns.numbers, "1_000", "not a number"),
        (columns.numbers, [1], "not a number"),
        (columns.numbers, "1e39", "infinite or too large"),
        (columns.numbers, "-inf", "infinite or too large"),
        (columns.numbers, 10**400, "infinite or too large"),
        (columns.texts, 3, "c is 3, not a text"),
        (columns.texts, ["a"], "not a text"),
        (columns.categories, {"a": 1}, "not one value"),
        (columns.paths, " ", "not the path of a picture"),
        (columns.paths, None, "not the path of a picture"),
        (columns.parts, "holdout", "c is 'holdout', not a split: write train, valid or test"),
        (columns.parts, "", "not a split"),
        (columns.parts, 1, "not a split"),
        (columns.weights, "-1", "not a weight"),
        (columns.weights, "", "not a weight"),
        (times_of, "yesterday", "c is 'yesterday', not a time"),
        (times_of, "", "not a time"),
        (times_of, "inf", "not a time"),
        (columns.texts, list(range(100)), r"c is \[0, 1, 2.{20,30}\.\.\., not"),
    ],
)
def test_what_does_not_fit_is_said_with_its_line(
    read: Callable[..., Any], cell: object, message: str
) -> None:
    fits: dict[Any, object] = {columns.parts: "train", columns.paths: "a", times_of: "1"}
    with pytest.raises(UserError, match=rf"^ads\.csv, line 11: .*{message}"):
        read(TABLE, "c", chunk(fits.get(read, "0" if read is not columns.texts else "a"), cell, cell))


def test_times_of_two_kinds_are_refused() -> None:
    with pytest.raises(UserError, match="line 11: c is '2024-05-31', not a number, as the times above are"):
        columns.Times()(TABLE, "c", chunk("2023", "2024-05-31"))
    with pytest.raises(UserError, match="line 11: c is '2023', not a date, as the times above are"):
        columns.Times()(TABLE, "c", chunk("2024-05-31", "2023"))
    times = columns.Times()
    times(TABLE, "c", chunk("2024-05-31"))
    with pytest.raises(UserError, match="c is '2023', not a date"):  # in the next chunk, too
        times(TABLE, "c", chunk("2023"))
