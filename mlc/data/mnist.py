"""Pictures with several digits from the original MNIST files."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Gt, Interval
from torch import Tensor

from mlc.data.composed import Composition, Glyphs, Targets
from mlc.data.dataset import Dataset
from mlc.data.idx import read_idx
from mlc.data.picture_inputs import read_pictures
from mlc.data.pictures import N_DIGITS, check_layout
from mlc.data.root import data_file
from mlc.data.text.encoder import TextEncoder
from mlc.errors import UserError

_MNIST_SIZE = 28  # pixels
_TRIM = 2  # pixels of border, nearly always empty, that a glyph gives up for room to move in its cell
_GLYPH_SIZE = _MNIST_SIZE - 2 * _TRIM


class MnistPictures:
    """Pictures with `min_digits` to `max_digits` MNIST digits; the labels are which.

    The test pictures are composed from the test digits of MNIST only. The files are the four idx.gz files
    of MNIST, in the folder "mnist" of the data root.

    Args:
        n_train: pictures for training and validation together.
        n_test: pictures for testing.
        valid_fraction: share of the MNIST training digits, and of `n_train`, held out for validation.
        min_digits: fewest digits on one picture.
        max_digits: most digits on one picture.
        canvas: height and width of a picture, pixels.
        grid: the canvas has grid×grid cells, each with one digit at most.
        targets: "presence" (which digits are there) or "levels" (how many copies of each; see Composition).

    Source: Y. LeCun, L. Bottou, Y. Bengio and P. Haffner (1998), Gradient-Based Learning Applied to
        Document Recognition.
    """

    def __init__(
        self,
        *,
        n_train: Annotated[int, Gt(0)] = 50_000,
        n_test: Annotated[int, Gt(0)] = 10_000,
        valid_fraction: Annotated[float, Interval(gt=0, lt=1)] = 0.1,
        min_digits: Annotated[int, Ge(0)] = 0,
        max_digits: Annotated[int, Gt(0)] = 4,
        canvas: Annotated[int, Gt(0)] = 56,
        grid: Annotated[int, Gt(0)] = 2,
        targets: Targets = "presence",
    ) -> None:
        check_layout(
            glyph_size=_GLYPH_SIZE, canvas=canvas, grid=grid, max_digits=max_digits, min_digits=min_digits
        )
        self.valid_fraction = valid_fraction
        self._composition = Composition(
            n_train=n_train,
            n_test=n_test,
            valid_fraction=valid_fraction,
            canvas=canvas,
            grid=grid,
            max_digits=max_digits,
            min_digits=min_digits,
            targets=targets,
        )

    def load(
        self, *, seed: int, text: TextEncoder | None = None, preparation: Mapping[str, Tensor] | None = None
    ) -> Dataset:
        """Read the four files and compose the pictures.

        Raises:
            UserError: a file is missing, cut or malformed.
        """
        train, test = _read_glyphs("train"), _read_glyphs("t10k")
        return self._composition.dataset(
            "mnist_pictures",
            train=train,
            test=test,
            preparation=preparation,
            generator=torch.Generator().manual_seed(seed),
            notes=(f"The outer {_TRIM} pixels of every MNIST digit were cut off to make room to move it.",),
        )

    def read_inputs(
        self, path: Path, *, preparation: Mapping[str, Tensor], chunk_rows: int
    ) -> Iterator[Mapping[str, Tensor]]:
        """Stream new pictures from a .npy file; see `read_pictures`."""
        shape = (1, self._composition.canvas, self._composition.canvas)
        mean, scale = preparation["mean"], preparation["scale"]
        for x in read_pictures(path, shape=shape, mean=mean, scale=scale, chunk_rows=chunk_rows):
            yield {"x": x}


def _read_glyphs(part: str) -> Glyphs:
    pictures = data_file("mnist", f"{part}-images-idx3-ubyte.gz")
    digits = data_file("mnist", f"{part}-labels-idx1-ubyte.gz")
    pixels_GHW, digits_G = read_idx(pictures, ndim=3), read_idx(digits, ndim=1)
    if pixels_GHW.shape != (len(digits_G), _MNIST_SIZE, _MNIST_SIZE):
        raise UserError(
            f"{pictures} holds pictures of the shape {pixels_GHW.shape}, but {digits} has {len(digits_G)} "
            f"digits of {_MNIST_SIZE}×{_MNIST_SIZE} pixels; get both again."
        )
    if not len(digits_G) or digits_G.max() >= N_DIGITS:
        raise UserError(f"{digits} must hold digits from 0 to {N_DIGITS - 1}; get it again.")
    trimmed_GHW = pixels_GHW[:, _TRIM:-_TRIM, _TRIM:-_TRIM].copy()
    return Glyphs(torch.from_numpy(trimmed_GHW), torch.from_numpy(digits_G.astype(np.int64)))
