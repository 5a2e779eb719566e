"""Downloading one file: verified, then put in its place in one step, or not at all.

Imported only where a file is missing, because pooch and rich are heavy.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pooch
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from mlc.data.archives import DAMAGED, copy_zip_member
from mlc.data.sources.registry import RemoteFile
from mlc.errors import UserError

CONNECT_S, READ_S = 10.0, 30.0  # how long to wait for a connection, and for the next bytes
_CHUNK_BYTES = 1 << 16
_MARKUP = (b"<!doctype html", b"<html")


def fetch(remote: RemoteFile, target: Path) -> None:
    """Download a file to `target`.

    It is downloaded beside its place under a temporary name, verified, and renamed, so `target` is a whole
    file or is not there, whatever happens.

    Args:
        remote: where it is and what is known of it.
        target: where it goes; its folder is created.

    Raises:
        UserError: MLC_OFFLINE is set, there is no network, or what came is not what was published; the
            message says what to put where.
    """
    if os.environ.get("MLC_OFFLINE", "0") not in ("", "0"):
        raise UserError(
            f"{target} is missing, and MLC_OFFLINE forbids to download it: {_by_hand(remote, target)}"
        )
    console = Console(stderr=True)
    console.print(f"Downloading {remote.url} to {target}. {_about(remote)}", soft_wrap=True, markup=False)
    try:
        with (
            _made(target.parent),
            tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as folder,
        ):
            arrived = Path(folder, "arrived")
            _download(remote, arrived, console)
            _verify(remote, arrived, target)
            if remote.member is not None:
                arrived = _extract(remote, remote.member, arrived, target)
            arrived.replace(target)
    except OSError as error:  # requests' exceptions are OSErrors, too
        raise UserError(
            f"{target} is missing and could not be downloaded ({_reason(error)}): {_by_hand(remote, target)}"
        ) from error


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """A folder that is created, with those above it, and goes again if what is done in it fails."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        with suppress(OSError):  # something else was put there meanwhile
            for path in new:
                path.rmdir()
        raise


def _about(remote: RemoteFile) -> str:
    unverified = "" if remote.checksum else " No checksum is known, so it is not verified."
    return f"Licence: {remote.licence}; see {remote.homepage}.{unverified}"


def _by_hand(remote: RemoteFile, target: Path) -> str:
    what = remote.url if remote.member is None else f"{remote.url}, take {remote.member} out of it"
    return f"get {what} and put it at {target}, or set MLC_DATA to the data root that has it."


def _reason(error: OSError) -> str:
    response = getattr(error, "response", None)
    if response is not None:
        return f"the server answers {response.status_code}"
    if error.errno is not None:
        return f"{error.strerror}"
    return f"the connection failed: {type(error).__name__}"


def _download(remote: RemoteFile, path: Path, console: Console) -> None:
    with _progress(remote, console) as bar:
        download = pooch.HTTPDownloader(
            progressbar=bar,
            chunk_size=_CHUNK_BYTES,
            timeout=(CONNECT_S, READ_S),
            # A server that packs what it sends would change the bytes that the checksum is of.
            headers={"Accept-Encoding": "identity"},
        )
        download(remote.url, str(path), None)


def _verify(remote: RemoteFile, path: Path, target: Path) -> None:
    problem = _problem(remote, path)
    if problem:
        raise UserError(
            f"What {remote.url} sends is not the file that was published ({problem}), so it was thrown away; "
            f"try again later, or get it from {remote.homepage} and put it at {target}."
        )


def _problem(remote: RemoteFile, path: Path) -> str:
    size = path.stat().st_size
    if remote.bytes is not None and size != remote.bytes:
        return f"{size} bytes instead of {remote.bytes}"
    if remote.checksum is not None:
        algorithm, _, expected = remote.checksum.partition(":")
        found = pooch.file_hash(str(path), alg=algorithm)
        return "" if found == expected else f"its {algorithm} is {found} instead of {expected}"
    with path.open("rb") as file:
        start = file.read(1024).lstrip().lower()
    return "it is a web page" if start.startswith(_MARKUP) else ""


def _extract(remote: RemoteFile, member: str, archive: Path, target: Path) -> Path:
    """One member, asked for by its exact name and written under a name of ours: its paths are not used."""
    extracted = archive.with_name("extracted")
    try:
        with extracted.open("wb") as sink:
            copy_zip_member(archive, member, sink)
    except UserError as error:
        raise UserError(f"What {remote.url} sends cannot be used for {target}: {error}") from error
    except DAMAGED as error:
        raise UserError(
            f"The archive at {remote.url} is damaged or has no member {member}; get the file from "
            f"{remote.homepage} and put it at {target}."
        ) from error
    return extracted


class _Bar:
    """What pooch reports progress to."""

    def __init__(self, display: Progress, name: str) -> None:
        self._display, self._total = display, 0
        self._task = display.add_task(name, total=None)

    @property
    def total(self) -> int:
        """Bytes in all, 0 where the server does not say."""
        return self._total

    @total.setter
    def total(self, n_bytes: int) -> None:
        self._total = n_bytes
        self._display.update(self._task, total=n_bytes or None)

    def update(self, n_bytes: int) -> None:
        """So many bytes more have come."""
        self._display.advance(self._task, n_bytes)

    def reset(self) -> None:
        """Back to the start: pooch does that before it fills the bar."""
        self._display.update(self._task, completed=0)

    def close(self) -> None:
        """The display closes itself."""


@contextmanager
def _progress(remote: RemoteFile, console: Console) -> Iterator[_Bar]:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as display:
        yield _Bar(display, remote.name)
