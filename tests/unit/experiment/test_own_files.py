from pathlib import Path
from typing import Any

import pytest

from mlc.experiment.own_files import from_anywhere
from tests.contract.grid import names
from tests.unit.experiment.shipped import config


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a table, a folder of pictures, a run and a model, and a home with another table."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "theirs.csv").touch()
    (tmp_path / "ads.csv").touch()
    for name in ("photos", "run", "yeast"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def placed(dataset: str, **options: Any) -> dict[str, Any]:
    given = config(dataset=dataset)
    given["dataset"] |= options
    found: dict[str, Any] = from_anywhere(given)["dataset"]
    return {key: found[key] for key in options}


def test_what_is_there_gets_its_whole_path(tmp_path: Path) -> None:
    assert placed("table", path="ads.csv", picture_folder="photos") == {
        **{"path": str(tmp_path / "ads.csv"), "picture_folder": str(tmp_path / "photos")}
    }
    assert placed("table", path="~/theirs.csv") == {"path": str(tmp_path / "home" / "theirs.csv")}
    assert placed("images", folder="photos", table="ads.csv") == {
        **{"folder": str(tmp_path / "photos"), "table": "ads.csv"}  # the table is looked for in the folder
    }
    assert placed("svmlight", path="ads.csv", test=None) == {"path": str(tmp_path / "ads.csv"), "test": None}


def test_what_lies_below_the_data_root_or_nowhere_stays() -> None:
    assert placed("mulan", folder="yeast") == {"folder": "yeast"}
    assert placed("svmlight", path="eurlex/train.txt") == {"path": "eurlex/train.txt"}
    assert placed("table", path="ad.csv") == {"path": "ad.csv"}
    assert placed("table", path="~nobody/" + "x" * 300) == {"path": "~nobody/" + "x" * 300}


def test_the_run_to_start_from(tmp_path: Path) -> None:
    assert from_anywhere({"init_from": "run"}) == {"init_from": str(tmp_path / "run")}
    assert from_anywhere({"init_from": "gone"}) == {"init_from": "gone"}


@pytest.mark.parametrize("dataset", names("dataset"))
def test_a_config_without_files_of_ones_own_stays(dataset: str) -> None:
    given = config(dataset=dataset)
    assert from_anywhere(given) == given


def test_a_second_time_changes_nothing() -> None:
    given = config(dataset="table")
    given["dataset"]["path"] = "ads.csv"
    once = from_anywhere(given)
    assert given["dataset"]["path"] == "ads.csv", "the given config was changed"
    assert from_anywhere(once) == once != given
