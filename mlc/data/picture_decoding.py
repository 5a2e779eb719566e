"""From a picture file to bytes. Worker processes import this file, so it needs neither torch nor the data."""

import stat
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

Colour = Literal["grey", "rgb"]
Size = tuple[int, int]  # height, width

_WHITE_16 = 65535
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")  # others may run programs, as EPS does
_MODES: dict[Colour, Literal["L", "RGB"]] = {"grey": "L", "rgb": "RGB"}


class PictureError(Exception):
    """A picture that cannot be used; the message says why in a few words."""


@dataclass(frozen=True)
class DecodedPictures:
    """What a worker hands back for its files.

    Args:
        pixels_BCHW: uint8; zeros where a picture could not be read.
        failures: why not, by the place of the file.
        changes: what was done to each picture besides decoding it: "resized", "transparent", "16-bit",
            "animated".
    """

    pixels_BCHW: NDArray[np.uint8]
    failures: dict[int, str]
    changes: list[set[str]]


def decode_files(paths: Sequence[Path], size: Size, *, colour: Colour, resize: bool) -> DecodedPictures:
    """Decode files to pictures of one size.

    Args:
        paths: the files.
        size: height and width of the result.
        colour: one channel or three.
        resize: stretch pictures of other sizes to this one; else they are failures.
    """
    channels = 1 if colour == "grey" else 3
    pixels_BCHW = np.zeros((len(paths), channels, *size), dtype=np.uint8)
    failures: dict[int, str] = {}
    changes: list[set[str]] = [set() for _ in paths]
    for place, path in enumerate(paths):
        try:
            pixels_BCHW[place], changes[place] = _decode(path, size, colour=colour, resize=resize)
        except PictureError as error:
            failures[place] = str(error)
    return DecodedPictures(pixels_BCHW, failures, changes)


def picture_size(path: Path) -> Size:
    """Height and width of a picture as it is shown.

    Raises:
        PictureError: the file is no picture that can be read.
    """
    image, _ = _open(path)
    return image.height, image.width


def check_file(path: Path) -> tuple[int, int]:
    """Size in bytes and time of the last change of a file, in ns.

    Raises:
        PictureError: it is missing, or no file.
    """
    try:
        status = path.stat()
    except (OSError, ValueError):  # ValueError: a NUL character in the name
        raise PictureError("is missing") from None
    if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for without end
        raise PictureError("is no file")
    return status.st_size, status.st_mtime_ns


def _decode(path: Path, size: Size, *, colour: Colour, resize: bool) -> tuple[NDArray[np.uint8], set[str]]:
    from PIL.Image import Resampling

    image, changes = _open(path)
    if (image.height, image.width) != size and not resize:
        raise PictureError(
            f"has {image.height}×{image.width} and not {size[0]}×{size[1]} pixels (give a size to resize all)"
        )
    image = image.convert(_MODES[colour])
    if (image.height, image.width) != size:
        image = image.resize((size[1], size[0]), Resampling.BILINEAR)
        changes = changes | {"resized"}
    pixels = np.asarray(image)
    return pixels[None] if colour == "grey" else pixels.transpose(2, 0, 1), changes


def _open(path: Path) -> "tuple[Image, set[str]]":
    """The whole picture with 8 bits a channel, upright, on white; and what was changed."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    check_file(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd metadata do no harm
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(path, formats=_FORMATS) as image:
                image.load()
                animated = getattr(image, "n_frames", 1) > 1
                eight_bits, changes = _eight_bits(ImageOps.exif_transpose(image))
        except (Image.DecompressionBombWarning, Image.DecompressionBombError):
            raise PictureError("has far too many pixels") from None
        except UnidentifiedImageError:
            raise PictureError("is no picture") from None
        except PictureError:
            raise
        except Exception as error:  # decoders of damaged files raise anything
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise PictureError(f"is damaged: {reason}") from None
    return eight_bits, changes | ({"animated"} if animated else set())


def _eight_bits(image: "Image") -> "tuple[Image, set[str]]":
    """The picture in a mode that Pillow converts without loss of meaning."""
    from PIL import Image

    if image.mode.startswith("I"):  # 16 bits, which `convert` would cut off at 255
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > _WHITE_16:
            raise PictureError("has pixels of more than 16 bits")
        return Image.fromarray(np.rint(values * (255 / _WHITE_16)).astype(np.uint8)), {"16-bit"}
    if image.mode == "F":
        raise PictureError("has floating-point pixels")
    if image.has_transparency_data:
        # What is hidden under transparent pixels is arbitrary, so they are shown on white, as on a page.
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() == (255, 255):
            return image, set()
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image), {"transparent"}
    return image, set()
