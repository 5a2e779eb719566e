from pathlib import Path

import pytest

from mlc.data.table_roles import TableRoles, as_columns
from mlc.errors import UserError
from tests.unit.data.table_file.test_base import Empty

TABLE = Empty(Path("ads.csv"), ["title", "tags", "a", "b", "day"])


def roles(**given: object) -> TableRoles:
    none = dict.fromkeys(["text", "picture", "auxiliary_labels", "split", "group", "time", "weight"])
    return TableRoles(**{**none, "numbers": (), "categories": (), "labels": "tags", **given})  # type: ignore[arg-type]


def test_names_become_those_of_the_file() -> None:
    found = roles(text=" title", numbers=("b ",), labels=("tags", "a")).in_file(TABLE)
    assert found == roles(text="title", numbers=("b",), labels=("tags", "a"))
    assert found.columns() == ["title", "b", "tags", "a"]
    assert found.free(TABLE) == ["day"]
    assert found.unused_note(TABLE) == ["1 column is not used: day."]


def test_all_columns_in_use_are_nothing_to_say() -> None:
    assert roles(text="title", numbers=("a", "b"), time="day").unused_note(TABLE) == []


@pytest.mark.parametrize(
    ("given", "names_inputs"),
    [({}, False), ({"weight": "a"}, False), ({"text": "title"}, True), ({"categories": ("a",)}, True)],
)
def test_whether_inputs_are_named(given: dict[str, object], names_inputs: bool) -> None:
    assert roles(**given).names_inputs is names_inputs


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"text": "titel"}, r"dataset\.text names; did you mean title"),
        ({"numbers": ("a", "c")}, r"no column 'c', which dataset\.numbers"),
        ({"text": "tags"}, r"the column tags is named by dataset\.text and by dataset\.labels"),
        ({"numbers": ("a", "a")}, r"named by dataset\.numbers and by dataset\.numbers"),
        ({"auxiliary_labels": ("a",), "weight": "a"}, r"dataset\.auxiliary_labels and by dataset\.weight"),
    ],
)
def test_wrong_names_and_two_roles_are_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        roles(**given).in_file(TABLE)


def test_one_column_several_or_none() -> None:
    assert [as_columns(given) for given in (None, "ab", ["a", "b"])] == [(), ("ab",), ("a", "b")]
