"""What is no regular file is refused before it is opened: a pipe would wait, a device never end."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mlc.data.label_header import read_label_header
from mlc.data.mulan import Mulan
from mlc.data.new_texts import read_texts
from mlc.data.picture_inputs import read_pictures
from mlc.data.regular_file import check_file
from mlc.data.root import data_file
from mlc.data.svmlight import Svmlight
from mlc.data.svmlight_file import SvmlightFile
from mlc.data.table import Table
from mlc.data.table_file.opening import open_table
from mlc.data.table_inputs import read_table
from mlc.errors import UserError


def unreadable(path: Path) -> None:
    path.write_text("1 1:1")
    path.chmod(0)


def with_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)  # from here, because such paths must be short


KINDS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "nothing": (lambda path: None, "does not exist"),
    "a pipe": (os.mkfifo, "is a pipe; copy what it gives to a file"),
    "a folder": (Path.mkdir, "is a folder"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "is a device"),
    "a socket": (with_socket, "is a socket"),
    "a link to nothing": (lambda path: path.symlink_to("gone"), "does not exist"),
    "a link to itself": (lambda path: path.symlink_to(path), "cannot be read"),
    "a file that may not be read": (unreadable, "cannot be read (Permission denied)"),
}


def mulan(path: Path) -> None:
    (path.parent / "a.xml").write_text('<labels><label name="a"/></labels>')
    Mulan(name="a", folder=str(path.parent), train=path.name, test=path.name, labels="a.xml").load(seed=0)


def first(rows: Any) -> None:
    next(iter(rows))


# What opens a file that the user names, and the ending that it must have.
READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "the check": ("", check_file),
    "a CSV table": (".csv", open_table),
    "JSON lines": (".jsonl", open_table),
    "Parquet": (".parquet", open_table),
    "dataset=table": (".csv", lambda path: Table(path=str(path), labels=["a"]).load(seed=0)),
    "dataset=svmlight": (".svm", lambda path: Svmlight(path=str(path)).load(seed=0)),
    "new svmlight rows": (".svm", SvmlightFile),
    "dataset=mulan": (".arff", mulan),
    "the labels of mulan": (".xml", lambda path: read_label_header(data_file(str(path)))),
    "new texts": (".txt", lambda path: first(read_texts(path, preparation={}, chunk_rows=1))),
    "new rows": (".arff", lambda path: first(read_table(path, preparation={}, chunk_rows=1))),
    "new pictures": (
        ".npy",
        lambda path: first(
            read_pictures(path, shape=(1, 8, 8), mean=torch.zeros(1), scale=torch.ones(1), chunk_rows=1)
        ),
    ),
}


@pytest.fixture
def _not_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read everything: files without any permission are refused as they are to others."""
    plain = Path.open

    def opened(path: Path, *given: Any, **named: Any) -> Any:
        if path.exists() and path.stat().st_mode & 0o777 == 0:
            raise PermissionError(13, "Permission denied", str(path))
        return plain(path, *given, **named)

    monkeypatch.setattr(Path, "open", opened)


@pytest.mark.usefixtures("_not_root")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file_is_refused_in_a_sentence(
    reader: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLC_DATA", str(tmp_path))
    (ending, read), (make, words) = READERS[reader], KINDS[kind]
    path = tmp_path / f"a{ending}"
    make(path)
    with pytest.raises(UserError) as refused:
        read(path)
    said = str(refused.value)
    assert str(path) in said
    assert "\n" not in said
    by_name = reader in ("dataset=svmlight", "dataset=mulan", "the labels of mulan")
    if by_name and not os.path.exists(path):  # they say where else they have looked
        assert "there is no file" in said or "is missing" in said
    else:
        assert words in said


def test_a_file_and_a_link_to_it_are_fine(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "b").symlink_to("a")
    check_file(tmp_path / "a")
    check_file(tmp_path / "b")


@pytest.mark.parametrize(
    ("path", "words"), [("a\0b", "is no path"), ("a" * 5000, "cannot be read (File name")]
)
def test_a_path_that_cannot_be(path: str, words: str) -> None:
    with pytest.raises(UserError) as refused:
        check_file(Path(path))
    assert words in str(refused.value)
