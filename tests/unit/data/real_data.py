"""Skipping the tests that need the real data files."""

import os
from pathlib import Path

import pytest


def real_file(*parts: str) -> Path:
    """The real data file at `parts`, or skip the test and say why."""
    root = os.environ.get("MLC_DATA")
    if not root:
        pytest.skip("MLC_DATA is not set, so there are no real data files to test with.")
    path = Path(root, *parts)
    if not path.is_file():
        pytest.skip(f"MLC_DATA={root} lacks {'/'.join(parts)}.")
    return path
