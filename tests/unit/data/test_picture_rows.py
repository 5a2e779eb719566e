from pathlib import Path

import numpy as np
import pytest
import torch

from mlc.data import picture_rows
from mlc.data.picture_rows import PictureRows
from mlc.data.standardise import fit_standardisation
from mlc.inputs import InputSpec
from mlc.rows import Rows


def pixels(n: int = 12) -> torch.Tensor:
    random = np.random.default_rng(0).integers(256, size=(n, 3, 5, 4), dtype=np.uint8)
    random[:, 2] = 77  # a constant channel
    return torch.from_numpy(random)


def test_a_batch_is_the_pictures_as_floats() -> None:
    rows = PictureRows.every(pixels())
    assert isinstance(rows, Rows)
    assert rows.spec == InputSpec("pictures", (3, 5, 4))
    batch = rows[torch.tensor([3, 3, 0])]
    assert batch.dtype == torch.float32
    assert torch.equal(batch, pixels()[[3, 3, 0]].float() / 255)


def test_views_of_views_pick_rows_and_copy_no_pixel() -> None:
    rows = PictureRows.every(pixels())
    view = rows.view(torch.tensor([5, 2, 9])).view(torch.tensor([2, 0]))
    assert len(view) == 2
    assert view.pixels_MCHW.data_ptr() == rows.pixels_MCHW.data_ptr()
    assert torch.equal(view[torch.arange(2)], rows[torch.tensor([9, 5])])


@pytest.mark.parametrize("chunk_bytes", [1, 130, 1 << 20])
def test_fit_agrees_with_float_pictures(chunk_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_rows, "_CHUNK_BYTES", chunk_bytes)
    picked = torch.tensor([1, 4, 4, 7])
    mean, scale = PictureRows.every(pixels()).view(picked).fit()
    expected_mean, expected_scale = fit_standardisation(pixels()[picked].float() / 255)
    torch.testing.assert_close(mean, expected_mean)
    torch.testing.assert_close(scale, expected_scale)
    assert scale[2] == torch.inf


def test_standardised_on_the_rows_it_was_fitted_on() -> None:
    rows = PictureRows.every(pixels())
    mean, scale = rows.fit()
    x = rows.standardised(mean=mean, scale=scale)[torch.arange(12)]
    expected = torch.tensor([0.0, 0.0, 0.0])
    torch.testing.assert_close(x.mean((0, 2, 3)), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std((0, 2, 3), correction=0), torch.tensor([1.0, 1.0, 0.0]))


def test_another_device_gets_its_own_rows_only() -> None:
    rows = PictureRows.every(pixels()).standardised(mean=torch.zeros(3), scale=torch.ones(3))
    assert rows.to("cpu") is rows
    moved = rows.view(torch.tensor([3, 8])).to("meta")
    assert moved.pixels_MCHW.shape == (2, 3, 5, 4)
    assert moved.pixels_MCHW.device == moved.rows_N.device == torch.device("meta")
    assert moved.mean_C is not None
    assert moved.mean_C.device == torch.device("meta")


def test_pixels_mapped_from_a_file(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", pixels().numpy())
    mapped = torch.from_numpy(np.load(tmp_path / "a.npy", mmap_mode="c"))
    assert torch.equal(PictureRows.every(mapped)[torch.tensor([6])], pixels()[[6]].float() / 255)
