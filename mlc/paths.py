"""Paths as users write them."""

import os
from pathlib import Path


def home_path(written: str | Path) -> Path:
    """A path with the home folder in the place of a leading ~ or ~name.

    A home that nobody has stays as it is written, and is then said to be missing as any other path is;
    `Path.expanduser` would end in a trace.
    """
    return Path(os.path.expanduser(written))
