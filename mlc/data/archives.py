"""Reading archives that others made: by the names asked for, regular files only, never more than a limit.

Nothing here uses a path that an archive states, and nothing unpacks a whole archive, so no member can land
outside its place. What is left to fear is a small file that becomes a huge one.
"""

import gzip
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from mlc.errors import UserError

_CHUNK_BYTES = 1 << 20
_ENCRYPTED = 0x1
# What the standard library raises on an archive that is cut, damaged, locked or packed in an unknown way.
DAMAGED = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError),
    *(EOFError, KeyError, OSError, ValueError, RuntimeError),
)


@dataclass(frozen=True)
class Limits:
    """How large the content of an archive may become.

    Args:
        most_bytes: never more than this in all.
        most_times: nor more than so many times the size of the archive,
        free_bytes: unless it is this small, where the ratio does not count: empty pictures pack well.
    """

    most_bytes: int = 16 << 30
    most_times: int = 200
    free_bytes: int = 256 << 20

    def of(self, path: Path) -> int:
        """How many bytes this archive may become."""
        return min(self.most_bytes, max(self.free_bytes, self.most_times * path.stat().st_size))


LIMITS = Limits()


def read_gzip(path: Path, *, limits: Limits = LIMITS) -> bytes:
    """The content of a .gz file.

    Raises:
        UserError: it becomes too large; what is damaged raises one of DAMAGED.
    """
    with gzip.open(path, "rb") as file:
        return _Bounded(file, path, limits).read()


def read_tar_gz(path: Path, names: Collection[str], *, limits: Limits = LIMITS) -> dict[str, bytes]:
    """The files of these names in a .tar.gz archive, in whichever folder they are; others are passed over.

    Raises:
        UserError: it becomes too large, or a link or a device stands where a file should; what is damaged
            raises one of DAMAGED.
    """
    found: dict[str, bytes] = {}
    with gzip.open(path, "rb") as file:
        # As a stream: every byte that is unpacked, headers and what is passed over, goes through the limit.
        bounded: Any = _Bounded(file, path, limits)
        with tarfile.open(fileobj=bounded, mode="r|") as archive:
            for member in _members(archive):
                name = PurePosixPath(member.name).name
                if name not in names:
                    continue
                content = archive.extractfile(member) if member.isreg() and not member.issparse() else None
                if content is None:
                    raise UserError(f"{path} is refused: its member {member.name} is no regular file")
                found[name] = content.read()
    return found


def _members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """One after the other; a member's header is never kept, so that many small ones take no memory."""
    while (member := archive.next()) is not None:
        archive.members = []  # type: ignore[attr-defined]
        yield member


def copy_zip_member(path: Path, member: str, sink: IO[bytes], *, limits: Limits = LIMITS) -> None:
    """Write the member of exactly this name into an open file.

    Raises:
        UserError: it becomes too large, is a link, or is locked with a password; what is damaged, or lacks
            the member, raises one of DAMAGED.
    """
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(member)
        if stat.S_ISLNK(info.external_attr >> 16) or info.is_dir():
            raise UserError(f"{path.name} is refused: its member {member} is no regular file")
        if info.flag_bits & _ENCRYPTED:
            raise UserError(f"{path.name} is refused: its member {member} is locked with a password")
        with archive.open(info) as source:
            bounded = _Bounded(source, path, limits)
            while chunk := bounded.read(_CHUNK_BYTES):
                sink.write(chunk)


class _Bounded:
    """A file being unpacked that ends with a sentence when it gives more than it may."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile, path: Path, limits: Limits) -> None:
        self._file, self._path = file, path
        self._most = self._left = limits.of(path)

    def read(self, size: int = -1) -> bytes:
        """At most so many bytes; all that is left for -1.

        Raises:
            UserError: there are more than the archive may become.
        """
        data = self._file.read(self._left + 1 if size < 0 else min(size, self._left + 1))
        self._left -= len(data)
        if self._left < 0:
            packed = self._path.stat().st_size
            raise UserError(
                f"{self._path.name} is refused: its {packed} bytes unpack to more than the {self._most} "
                f"bytes that are allowed, as in an archive made to fill a disk; get it again"
            )
        return data
