"""Downloads from a server on this machine; nothing here needs a network."""

import gc
import hashlib
import io
import socket
import threading
import zipfile
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mlc.data.sources import fetch as fetching
from mlc.data.sources.fetch import fetch
from mlc.data.sources.registry import RemoteFile
from mlc.errors import UserError

# pooch leaves the socket of a failed download to the garbage collector, which `refused` calls at once.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

CONTENT = b"@relation tiny\n" * 20_000
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()
MEMBER = "folder/inner.csv"


def _archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../outside.csv", b"evil")
        archive.writestr(MEMBER, CONTENT)
    return buffer.getvalue()


ARCHIVE = _archive()
PAGES: Mapping[str, bytes] = {
    "/whole": CONTENT,
    "/cut": CONTENT,
    "/page": b"\n<!DOCTYPE html><html>Log in to the hotel network</html>",
    "/archive.zip": ARCHIVE,
    "/damaged.zip": ARCHIVE[: len(ARCHIVE) // 2],
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/silent":
            self.server.released.wait(5)  # type: ignore[attr-defined]
            return
        page = PAGES.get(self.path)
        self.send_response(404 if page is None else 200)
        page = page or b""
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page[:1000] if self.path == "/cut" else page)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.released = threading.Event()  # type: ignore[attr-defined]
        thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.released.set()  # type: ignore[attr-defined]
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("MLC_OFFLINE", raising=False)


def remote(url: str, **facts: Any) -> RemoteFile:
    return RemoteFile(name="a.arff", url=url, licence="CC0", homepage="https://example.org/about", **facts)


def refused(source: RemoteFile, target: Path) -> str:
    """The message with which the download is refused, having left no file."""
    with pytest.raises(UserError) as caught:
        fetch(source, target)
    assert not target.parent.exists() or list(target.parent.iterdir()) == []
    message = str(caught.value)
    del caught
    gc.collect()
    assert str(target) in message
    return message


@pytest.mark.parametrize("checksum", [SHA256, MD5])
def test_a_verified_file_gets_its_place(
    checksum: str, server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "new" / "folders" / "a.arff"
    fetch(remote(f"{server}/whole", checksum=checksum, bytes=len(CONTENT)), target)
    shown = capsys.readouterr().err
    assert target.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == [target]
    assert f"{server}/whole to {target}. Licence: CC0; see https://example.org/about." in shown
    assert "not verified" not in shown


def test_without_a_checksum_the_user_is_told(
    server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch(remote(f"{server}/whole"), tmp_path / "a.arff")
    shown = capsys.readouterr().err
    assert (tmp_path / "a.arff").read_bytes() == CONTENT
    assert "No checksum is known, so it is not verified." in shown


def test_a_terminal_shows_progress(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # makes rich take anything for a terminal
    monkeypatch.setenv("TERM", "xterm")
    fetch(remote(f"{server}/whole", checksum=SHA256), tmp_path / "a.arff")
    assert "300.0/300.0 kB" in capsys.readouterr().err


def test_a_wrong_checksum_is_refused(server: str, tmp_path: Path) -> None:
    source = remote(f"{server}/whole", checksum="sha256:" + "0" * 64)
    assert f"its sha256 is {SHA256[7:]} instead of 000" in refused(source, tmp_path / "a.arff")


def test_a_wrong_size_is_refused(server: str, tmp_path: Path) -> None:
    source = remote(f"{server}/whole", bytes=7)
    assert f"({len(CONTENT)} bytes instead of 7)" in refused(source, tmp_path / "a.arff")


def test_a_web_page_is_not_taken_for_an_unverified_file(server: str, tmp_path: Path) -> None:
    assert "it is a web page" in refused(remote(f"{server}/page"), tmp_path / "a.arff")


def test_an_interrupted_download_leaves_nothing(server: str, tmp_path: Path) -> None:
    message = refused(remote(f"{server}/cut"), tmp_path / "new" / "folders" / "a.arff")
    assert list(tmp_path.iterdir()) == []
    assert "could not be downloaded (the connection failed" in message


def test_a_file_that_is_gone(server: str, tmp_path: Path) -> None:
    message = refused(remote(f"{server}/nothing"), tmp_path / "a.arff")
    assert "(the server answers 404)" in message
    assert f"get {server}/nothing and put it at {tmp_path / 'a.arff'}" in message


def test_no_network(tmp_path: Path) -> None:
    with socket.socket() as bound:  # bound, but not listening: connections are refused
        bound.bind(("127.0.0.1", 0))
        source = remote(f"http://127.0.0.1:{bound.getsockname()[1]}/a")
        assert "the connection failed" in refused(source, tmp_path / "a.arff")


def test_a_server_that_says_nothing_does_not_hang(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "READ_S", 0.1)
    assert "ReadTimeout" in refused(remote(f"{server}/silent"), tmp_path / "a.arff")


def test_offline_nothing_is_asked_for(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLC_OFFLINE", "1")
    message = refused(remote(f"{server}/archive.zip", member=MEMBER), tmp_path / "a.csv")
    assert "MLC_OFFLINE" in message
    assert f"get {server}/archive.zip, take {MEMBER} out of it and put it at" in message


def test_offline_0_means_online(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLC_OFFLINE", "0")
    fetch(remote(f"{server}/whole"), tmp_path / "a.arff")
    assert (tmp_path / "a.arff").is_file()


def test_the_member_of_an_archive_and_nothing_else(server: str, tmp_path: Path) -> None:
    checksum = "sha256:" + hashlib.sha256(ARCHIVE).hexdigest()
    target = tmp_path / "inside" / "a.csv"
    fetch(remote(f"{server}/archive.zip", member=MEMBER, checksum=checksum), target)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [target]
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize(("page", "member"), [("archive.zip", "inner.csv"), ("damaged.zip", MEMBER)])
def test_an_archive_without_the_member(page: str, member: str, server: str, tmp_path: Path) -> None:
    message = refused(remote(f"{server}/{page}", member=member), tmp_path / "a.csv")
    assert f"is damaged or has no member {member}" in message


def test_an_archive_that_fills_the_disk(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlc.data.archives.Limits.of", lambda limits, path: 1000)
    message = refused(remote(f"{server}/archive.zip", member=MEMBER), tmp_path / "a.csv")
    assert "is refused: its" in message
    assert "unpack to more than the 1000 bytes" in message


def test_a_folder_that_cannot_be_made(server: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"could not be downloaded \((File exists|Not a directory)\)"):
        fetch(remote(f"{server}/whole"), tmp_path / "file" / "a.arff")
