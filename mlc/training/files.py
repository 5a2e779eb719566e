"""Files that are whole or not there: written beside their place, then renamed into it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path to write; when the block ends well it takes the place of `path` in one step.

    The temporary file lies beside `path`, because a rename is atomic within one file system only. Its bytes
    are on the disk before the rename, and the rename before this returns: after a kill or a power cut there
    is the old file or the new one. A block that raises leaves the old file. The temporary name is fixed, so
    what a killed process left is overwritten by the next writer; one file has one writer at a time.

    Args:
        path: the file to write; its folder is made if missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())  # some writers make files that nobody else may read
        _flush_to_disk(temporary)
        temporary.replace(path)
    except BaseException:  # an interrupt too must leave no temporary file
        temporary.unlink(missing_ok=True)
        raise
    _flush_to_disk(path.parent)


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Write a file of these bytes: all of them or, if anything fails, none."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def atomic_write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file of this text, line ends as they are: all of it or, if anything fails, none."""
    atomic_write_bytes(path, text.encode("utf-8"))


def _umask() -> int:
    """The rights that new files are made without; the system tells it only to those who set it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
