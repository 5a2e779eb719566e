import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from mlc.data.dataset import Dataset, Split
from mlc.data.mnist import MnistPictures
from mlc.data.picture_rows import PictureRows
from mlc.errors import UserError
from mlc.inputs import InputSpec
from tests.unit.data.real_data import real_file


def write_idx(path: Path, values: np.ndarray) -> None:
    header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    path.write_bytes(gzip.compress(header + values.tobytes()))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with 40 training and 20 test digits, each a square as bright as its digit."""
    monkeypatch.setenv("MLC_DATA", str(tmp_path))
    mnist = tmp_path / "mnist"
    mnist.mkdir()
    for part, n in (("train", 40), ("t10k", 20)):
        digits = np.arange(n, dtype=np.uint8) % 10
        pictures = np.zeros((n, 28, 28), dtype=np.uint8)
        pictures[:, 4:24, 4:24] = 25 * (digits[:, None, None] + 1)
        write_idx(mnist / f"{part}-images-idx3-ubyte.gz", pictures)
        write_idx(mnist / f"{part}-labels-idx1-ubyte.gz", digits)
    return mnist


def small() -> MnistPictures:
    return MnistPictures(n_train=100, n_test=30, valid_fraction=0.25)


def light(data: Dataset, split: Split) -> torch.Tensor:
    """All pictures of a split, 0..1."""
    x = split.inputs["x"]
    assert isinstance(x, PictureRows)  # bytes, not floats
    return x[torch.arange(len(split))] * data.preparation["scale"] + data.preparation["mean"]


def test_pixels_show_the_targets(folder: Path) -> None:
    data = small().load(seed=0)
    assert [len(split) for split in (data.train, data.valid, data.test)] == [75, 25, 30]
    assert data.inputs == {"x": InputSpec("pictures", (1, 56, 56))}
    x = light(data, data.test)
    bright = (x * 255 / 25).round().long() - 1
    seen = torch.stack([(bright == digit).flatten(1).any(1) for digit in range(10)], dim=1)
    assert torch.equal(seen.float(), data.test.y_NL)
    assert "30 training, 10 validation and 20 test glyphs" in data.notes[0]


def test_levels_count_the_copies_in_the_pixels(folder: Path) -> None:
    data = MnistPictures(n_train=100, n_test=30, valid_fraction=0.25, targets="levels").load(seed=0)
    x = light(data, data.train)
    bright = (x * 255 / 25).round().long() - 1
    copies = torch.stack([(bright == digit).flatten(1).sum(1) // 400 for digit in range(10)], dim=1)
    assert copies.max() > 1
    assert torch.equal(copies.float(), data.train.y_NL)


def test_missing_file_is_named(folder: Path) -> None:
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(UserError, match=r"t10k-labels-idx1-ubyte\.gz is missing"):
        small().load(seed=0)


def test_cut_file_is_named(folder: Path) -> None:
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UserError, match=str(path)):
        small().load(seed=0)


def test_pictures_and_digits_that_do_not_fit(folder: Path) -> None:
    write_idx(folder / "train-labels-idx1-ubyte.gz", np.zeros(39, dtype=np.uint8))
    with pytest.raises(UserError, match="has 39 digits"):
        small().load(seed=0)


def test_digit_above_nine(folder: Path) -> None:
    write_idx(folder / "train-labels-idx1-ubyte.gz", np.full(40, 10, dtype=np.uint8))
    with pytest.raises(UserError, match="must hold digits from 0 to 9"):
        small().load(seed=0)


@pytest.mark.data
def test_real_files_have_their_shapes() -> None:
    real_file("mnist", "train-images-idx3-ubyte.gz")
    data = MnistPictures(n_train=1000, n_test=200).load(seed=0)
    assert [len(split) for split in (data.train, data.valid, data.test)] == [900, 100, 200]
    assert "10000 test glyphs" in data.notes[0]
    # The mean grey of MNIST is 0.1307, and on average two of the four cells are full.
    assert data.preparation["mean"].item() == pytest.approx(0.1307 / 2, rel=0.05)
