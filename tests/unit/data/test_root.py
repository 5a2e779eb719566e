from pathlib import Path

import pytest

from mlc.data.root import data_file, data_root
from mlc.data.sources import fetch as fetching
from mlc.data.sources.registry import RemoteFile
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
        data_file("yeast", "yeast.xml")
    assert not wrong.exists()


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[RemoteFile, Path]]:
    """What was asked for; it arrives empty."""
    asked: list[tuple[RemoteFile, Path]] = []

    def fake(remote: RemoteFile, target: Path) -> None:
        asked.append((remote, target))
        target.parent.mkdir(parents=True)
        target.write_bytes(b"")

    monkeypatch.setattr(fetching, "fetch", fake)
    return asked


def test_file_that_is_there_is_used_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, downloads: list[tuple[RemoteFile, Path]]
) -> None:
    monkeypatch.setenv("MLC_DATA", str(tmp_path))
    (tmp_path / "yeast").mkdir()
    (tmp_path / "yeast" / "yeast.xml").write_text("my own labels")
    assert data_file("yeast", "yeast.xml") == tmp_path / "yeast" / "yeast.xml"
    assert (tmp_path / "yeast" / "yeast.xml").read_text() == "my own labels"
    assert downloads == []


def test_missing_file_of_a_source_is_downloaded_below_the_default_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, downloads: list[tuple[RemoteFile, Path]]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("MLC_DATA", raising=False)
    path = data_file("yeast", "yeast.xml")
    assert path == tmp_path / ".cache" / "mlc" / "yeast" / "yeast.xml"
    assert [(remote.name, target) for remote, target in downloads] == [("yeast.xml", path)]


@pytest.mark.parametrize("parts", [("mine", "labels.xml"), ("/nowhere/yeast/yeast.xml",)])
def test_other_missing_files_say_what_to_put_where(
    parts: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    downloads: list[tuple[RemoteFile, Path]],
) -> None:
    monkeypatch.setenv("MLC_DATA", str(tmp_path))
    path = tmp_path.joinpath(*parts)
    with pytest.raises(UserError, match=f"put the file {path.name} in the folder {path.parent}"):
        data_file(*parts)
    assert downloads == []


def test_offline_the_missing_file_is_named_with_its_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLC_DATA", str(tmp_path))
    monkeypatch.setenv("MLC_OFFLINE", "1")
    with pytest.raises(UserError, match=r"get https://.*/yeast\.xml and put it at .*yeast\.xml"):
        data_file("yeast", "yeast.xml")
    assert list(tmp_path.iterdir()) == []
