"""Paths as users write them."""

from pathlib import Path

import pytest

from mlc.data.table import Table
from mlc.errors import UserError
from mlc.experiment.command_line import existing_folder
from mlc.paths import home_path

NOBODYS = "~nobody of this name/a.csv"


@pytest.mark.parametrize(
    ("written", "path"),
    [("~/a", "/home/me/a"), ("~", "/home/me"), ("a/~", "a/~"), ("/a", "/a"), (NOBODYS, NOBODYS), ("", ".")],
)
def test_home_is_put_in_and_that_of_nobody_stays(
    written: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert home_path(written) == home_path(Path(written)) == Path(path)


def test_a_home_that_nobody_has_is_missing_as_any_path() -> None:
    with pytest.raises(UserError, match="does not exist"):
        Table(path=NOBODYS, labels=["a"]).load(seed=0)
    with pytest.raises(UserError, match="is no folder"):
        existing_folder(NOBODYS, key="run")
