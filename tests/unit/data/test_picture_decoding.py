import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlc.data.picture_decoding import PictureError, decode_files, picture_size

RAMP = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5


def decode(path: Path, *, colour: str = "grey", size: tuple[int, int] = (6, 8), resize: bool = False):  # type: ignore[no-untyped-def]
    """One picture and what was changed; its failure is raised."""
    found = decode_files([path], size, colour=colour, resize=resize)  # type: ignore[arg-type]
    if found.failures:
        raise PictureError(found.failures[0])
    return found.pixels_BCHW[0], found.changes[0]


def save(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def test_grey_png_is_lossless(tmp_path: Path) -> None:
    pixels, changes = decode(save(Image.fromarray(RAMP), tmp_path / "a.png"))
    assert np.array_equal(pixels, RAMP[None])
    assert not changes


def test_colour_has_its_channels_first(tmp_path: Path) -> None:
    rgb = np.stack([RAMP, 255 - RAMP, RAMP // 2], axis=2)
    pixels, _ = decode(save(Image.fromarray(rgb), tmp_path / "a.png"), colour="rgb")
    assert np.array_equal(pixels, rgb.transpose(2, 0, 1))


def test_colour_to_grey_is_the_usual_weighting(tmp_path: Path) -> None:
    rgb = np.full((6, 8, 3), (200, 100, 50), dtype=np.uint8)
    pixels, _ = decode(save(Image.fromarray(rgb), tmp_path / "a.png"))
    assert abs(int(pixels[0, 0, 0]) - (0.299 * 200 + 0.587 * 100 + 0.114 * 50)) <= 1


def test_palette(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1], [1, 0]], dtype=np.uint8), mode="P")
    image.putpalette([10, 20, 30, 200, 210, 220])
    pixels, changes = decode(save(image, tmp_path / "a.png"), colour="rgb", size=(2, 2))
    assert pixels[:, 0].tolist() == [[10, 200], [20, 210], [30, 220]]
    assert not changes


def test_transparent_pixels_are_white(tmp_path: Path) -> None:
    rgba = np.array([[[9, 9, 9, 0], [100, 0, 0, 255]]], dtype=np.uint8)
    pixels, changes = decode(save(Image.fromarray(rgba), tmp_path / "a.png"), colour="rgb", size=(1, 2))
    assert pixels[:, 0].T.tolist() == [[255, 255, 255], [100, 0, 0]]
    assert changes == {"transparent"}
    rgba[..., 3] = 255
    assert decode(save(Image.fromarray(rgba), tmp_path / "b.png"), size=(1, 2))[1] == set()


def test_sixteen_bits_are_scaled_and_not_cut_off(tmp_path: Path) -> None:
    wide = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    pixels, changes = decode(save(Image.fromarray(wide), tmp_path / "a.png"), size=(1, 4))
    assert pixels.tolist() == [[[0, 1, 128, 255]]]
    assert changes == {"16-bit"}


def test_upright_as_exif_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to see it upright
    path = save(Image.fromarray(RAMP), tmp_path / "a.png", exif=exif)
    assert picture_size(path) == (8, 6)
    pixels, _ = decode(path, size=(8, 6))
    assert np.array_equal(pixels[0], np.rot90(RAMP, -1))


def test_first_picture_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((6, 8), level, dtype=np.uint8)) for level in (40, 200)]
    path = save(frames[0], tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    pixels, changes = decode(path)
    assert np.all(pixels == 40)
    assert changes == {"animated"}


def test_resized(tmp_path: Path) -> None:
    flat = Image.fromarray(np.full((6, 8), 90, dtype=np.uint8))
    pixels, changes = decode(save(flat, tmp_path / "a.png"), size=(3, 5), resize=True)
    assert pixels.shape == (1, 3, 5)
    assert np.all(pixels == 90)
    assert changes == {"resized"}


def test_other_size_is_a_failure_unless_resized(tmp_path: Path) -> None:
    path = save(Image.fromarray(RAMP), tmp_path / "a.png")
    with pytest.raises(PictureError, match="has 6×8 and not 3×3 pixels"):
        decode(path, size=(3, 3))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:50])  # the pixels end at 56


def flip_bits(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[45] ^= 0xFF
    path.write_bytes(bytes(content))


def replace_by_text(path: Path) -> None:
    path.write_text("no picture at all")


def replace_by_postscript(path: Path) -> None:
    """Pillow would give it to another program, ghostscript, whatever its name ends with."""
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(x) print\n%%EOF\n")


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def replace_by_floats(path: Path) -> None:
    Image.fromarray(RAMP.astype(np.float32)).save(path, format="tiff")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (Path.unlink, "is missing"),
        (cut, "is damaged"),
        (flip_bits, "is damaged"),
        (replace_by_text, "is no picture"),
        (replace_by_postscript, "is no picture"),
        (replace_by_pipe, "is no file"),
        (replace_by_floats, "has floating-point pixels"),
    ],
)
def test_what_is_no_picture_is_said(spoil, why: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = save(Image.fromarray(RAMP), tmp_path / "a.png")
    spoil(path)
    with pytest.raises(PictureError, match=why):
        decode(path)


@pytest.mark.parametrize("kind", ["png", "gif", "bmp", "webp", "tiff", "ppm"])
def test_kinds_of_files(kind: str, tmp_path: Path) -> None:
    rgb = np.stack([RAMP, 255 - RAMP, RAMP // 2], axis=2)
    options: dict[str, object] = {"lossless": True} if kind == "webp" else {}
    pixels, _ = decode(save(Image.fromarray(rgb), tmp_path / f"a.{kind}", **options), colour="rgb")
    assert np.array_equal(pixels, rgb.transpose(2, 0, 1))


@pytest.mark.parametrize("limit", [30, 20])  # Pillow warns above the limit and refuses above twice the limit
def test_bomb(limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(Image.fromarray(RAMP), tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(PictureError, match="far too many pixels"):
        decode(path)
