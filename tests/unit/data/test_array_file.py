from pathlib import Path

import numpy as np
import pytest

from mlc.data.array_file import open_array
from mlc.errors import UserError


def test_array_stays_on_disk(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(6).reshape(2, 3))
    array = open_array(tmp_path / "a.npy")
    assert isinstance(array, np.memmap)
    assert array.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("keep", [0, 5, 60, -1])
def test_cut_file_is_named(keep: int, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.arange(6.0))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=str(path)):
        open_array(path)


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([1j]), np.array([None])])
def test_other_things_than_real_numbers(array: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(UserError, match="numbers"):
        open_array(tmp_path / "a.npy")


def test_archive_of_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", np.arange(3))
    with pytest.raises(UserError, match="real numbers"):
        open_array(tmp_path / "a.npz")
