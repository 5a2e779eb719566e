from pathlib import Path

import pytest

from mlc.data.root import data_file, data_root
from mlc.errors import UserError


def test_root_is_what_mlc_data_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLC_DATA", str(tmp_path))
    assert data_root() == tmp_path


@pytest.mark.parametrize("unset", [None, ""])
def test_default_root_is_in_the_home_folder(
    unset: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("MLC_DATA", raising=False)
    if unset is not None:
        monkeypatch.setenv("MLC_DATA", unset)
    assert data_root() == tmp_path / ".cache" / "mlc"
    assert list(tmp_path.iterdir()) == []


def test_mistyped_root_is_an_error_and_is_not_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = tmp_path / "dta"
    monkeypatch.setenv("MLC_DATA", str(wrong))
    with pytest.raises(UserError, match=f"MLC_DATA={wrong} does not exist"):
        data_root()
    assert not wrong.exists()


def test_file_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLC_DATA", str(tmp_path))
    (tmp_path / "yeast").mkdir()
    (tmp_path / "yeast" / "yeast.xml").write_text("")
    assert data_file("yeast", "yeast.xml") == tmp_path / "yeast" / "yeast.xml"


def test_missing_file_says_what_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLC_DATA", str(tmp_path))
    with pytest.raises(UserError, match=rf"put the file yeast\.xml in the folder {tmp_path / 'yeast'}"):
        data_file("yeast", "yeast.xml")
