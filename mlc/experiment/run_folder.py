"""What a run folder may hold: files and folders. Whoever sends one must not choose what is written to."""

import os
from pathlib import Path

from mlc.errors import UserError

_DEEPEST, _MOST = 8, 100_000


def check_run_folder(folder: Path) -> None:
    """Refuse a run folder with links or devices in it; the folder itself may be a link.

    A run appends to its log and replaces its files: through a link it would do so somewhere else.

    Raises:
        UserError: naming what is there.
    """
    _check(folder, _DEEPEST, _MOST)


def _check(folder: Path, depth: int, left: int) -> int:
    with os.scandir(folder) as entries:
        for entry in entries:
            left -= 1
            if depth == 0 or left < 0:
                raise UserError(f"{folder} is refused: it holds far more than a run leaves")
            if entry.is_symlink():
                raise UserError(
                    f"{entry.path} is refused: it is a link to {os.readlink(entry.path)}, and a run folder "
                    f"keeps its files itself; copy it with cp -rL if you trust where the link leads"
                )
            if entry.is_dir(follow_symlinks=False):
                left = _check(Path(entry.path), depth - 1, left)
            elif not entry.is_file(follow_symlinks=False):
                raise UserError(f"{entry.path} is refused: it is no file, and a run folder holds files only")
    return left
