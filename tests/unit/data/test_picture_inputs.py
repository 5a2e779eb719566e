from pathlib import Path

import numpy as np
import pytest
import torch

from mlc.data.picture_inputs import read_pictures
from mlc.errors import UserError

MEAN, SCALE = torch.tensor([0.5]), torch.tensor([0.25])


def read(path: Path, *, chunk_rows: int = 100) -> torch.Tensor:
    chunks = list(read_pictures(path, shape=(1, 4, 4), mean=MEAN, scale=SCALE, chunk_rows=chunk_rows))
    assert all(len(chunk) <= chunk_rows for chunk in chunks)
    return torch.cat(chunks)


@pytest.mark.parametrize("channel", [False, True])
@pytest.mark.parametrize("chunk_rows", [2, 100])
def test_bytes_and_floats_are_the_same_pictures(channel: bool, chunk_rows: int, tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(256, size=(5, 1, 4, 4) if channel else (5, 4, 4), dtype=np.uint8)
    np.save(tmp_path / "bytes.npy", grey)
    np.save(tmp_path / "floats.npy", grey / 255)
    expected = torch.from_numpy((grey / 255 - 0.5) / 0.25).reshape(5, 1, 4, 4).float()
    for name in ("bytes.npy", "floats.npy"):
        x = read(tmp_path / name, chunk_rows=chunk_rows)
        assert x.dtype == torch.float32
        torch.testing.assert_close(x, expected)


@pytest.mark.parametrize("shape", [(3, 4, 5), (4, 4), (3, 2, 4, 4), ()])
def test_wrong_shape(shape: tuple[int, ...], tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(shape))
    with pytest.raises(UserError, match=r"a\.npy has the shape .* needs N×4×4 or N×1×4×4"):
        read(tmp_path / "a.npy")


@pytest.mark.parametrize("value", [1.5, -0.1, np.nan, 255])
def test_float_outside_its_range_names_the_picture(value: float, tmp_path: Path) -> None:
    x = np.zeros((7, 4, 4))
    x[5, 1, 2] = value
    np.save(tmp_path / "a.npy", x)
    with pytest.raises(UserError, match=r"a\.npy, picture 5 \(from 0\): a pixel is outside 0\.\.1"):
        read(tmp_path / "a.npy", chunk_rows=2)


def test_other_integers_are_not_guessed(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((1, 4, 4), dtype=np.int64))
    with pytest.raises(UserError, match="int64"):
        read(tmp_path / "a.npy")


@pytest.mark.parametrize(("name", "problem"), [("a.png", "from .npy files"), ("a.npy", "does not exist")])
def test_other_or_missing_file(name: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=problem):
        read(tmp_path / name)
