"""Where the data files are: one folder for all of them, named by the user."""

import os
from pathlib import Path

from mlc.data.regular_file import check_file
from mlc.data.sources.registry import known_file
from mlc.errors import UserError
from mlc.paths import home_path

_DEFAULT = Path("~/.cache/mlc")


def data_root() -> Path:
    """The folder that holds the files of every data set.

    It is the environment variable MLC_DATA, or ~/.cache/mlc when that is unset. Nothing is ever created
    here: a mistyped folder must not pass for an empty one.

    Raises:
        UserError: MLC_DATA names a folder that does not exist.
    """
    named = os.environ.get("MLC_DATA")
    if not named:
        return home_path(_DEFAULT)
    root = home_path(named)
    if not root.is_dir():
        raise UserError(
            f"MLC_DATA={named} does not exist; create that folder and put the data files in it, "
            "or set MLC_DATA to the folder that has them."
        )
    return root


def data_file(*parts: str) -> Path:
    """The file at `parts` below the data root.

    A file that is there is used as it is. One that is missing is downloaded, if files.toml knows it.

    Args:
        parts: folders and file name, such as "yeast", "yeast.xml"; an absolute path stands for itself.

    Raises:
        UserError: what is there is no regular file; or the file is missing and cannot be downloaded: the
            message says what to put where.
    """
    path = data_root().joinpath(*parts)
    if os.path.exists(path):
        check_file(path)
        return path
    remote = known_file(*parts)
    if remote is None:
        raise UserError(
            f"{path} is missing; put the file {path.name} in the folder {path.parent}, "
            "or set MLC_DATA to the data root that has it."
        )
    from mlc.data.sources.fetch import fetch

    fetch(remote, path)
    return path
