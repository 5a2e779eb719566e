"""Whether there is a file to read: a pipe or a device would be waited for, or read, without end."""

import stat
from pathlib import Path

from mlc.errors import UserError


def check_file(path: Path, *, wanted: str = "name a file that is there") -> None:
    """Check that a path is a regular file that may be read, or a link to one.

    Args:
        path: as the user gave it.
        wanted: what to do where nothing is there.

    Raises:
        UserError: it is not; says what it is.
    """
    try:
        kind = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path} does not exist (seen from {Path.cwd()}); {wanted}.") from None
    except ValueError:  # a NUL character
        raise UserError(f"{str(path)!r} is no path; {wanted}.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); name a readable file.") from error
    if stat.S_ISDIR(kind):
        raise UserError(f"{path} is a folder; name a file in it.")
    if not stat.S_ISREG(kind):
        what = _KINDS.get(stat.S_IFMT(kind), "no file")
        raise UserError(f"{path} is {what}; copy what it gives to a file.")
    try:
        path.open("rb").close()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); name a readable file.") from error


_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
