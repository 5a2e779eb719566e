"""Pictures with several small handwritten digits, from data that comes with scikit-learn: no download."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Interval
from torch import Tensor

from mlc.data.composed import Composition, Glyphs, Targets
from mlc.data.dataset import Dataset
from mlc.data.picture_inputs import read_pictures
from mlc.data.pictures import check_layout
from mlc.data.text.encoder import TextEncoder

_GLYPH_SIZE = 8  # pixels
_WHITE = 16  # largest pixel value


class Digits:
    """Pictures with several of the 1,797 handwritten digits of scikit-learn; the labels are which digits.

    The digits are split into train, validation and test first, by digit in equal shares, and each split is
    composed from its own.

    Args:
        n_train: pictures for training and validation together.
        n_test: pictures for testing.
        valid_fraction: share of the training digits, and of `n_train`, held out for validation.
        test_fraction: share of all digits kept for testing.
        min_digits: fewest digits on one picture.
        max_digits: most digits on one picture.
        canvas: height and width of a picture, pixels.
        grid: the canvas has grid×grid cells, each with one digit at most.
        targets: "presence" (which digits are there) or "levels" (how many copies of each; see Composition).

    Source: E. Alpaydin and C. Kaynak (1998), Optical Recognition of Handwritten Digits, UCI.
    """

    def __init__(
        self,
        *,
        n_train: Annotated[int, Gt(0)] = 20_000,
        n_test: Annotated[int, Gt(0)] = 4_000,
        valid_fraction: Annotated[float, Interval(gt=0, lt=1)] = 0.15,
        test_fraction: Annotated[float, Interval(gt=0, lt=1)] = 0.2,
        min_digits: Annotated[int, Ge(0)] = 0,
        max_digits: Annotated[int, Gt(0)] = 5,
        canvas: Annotated[int, Gt(0)] = 28,
        grid: Annotated[int, Gt(0)] = 3,
        targets: Targets = "presence",
    ) -> None:
        check_layout(
            glyph_size=_GLYPH_SIZE, canvas=canvas, grid=grid, max_digits=max_digits, min_digits=min_digits
        )
        self.valid_fraction = valid_fraction
        self.test_fraction = test_fraction
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
        """Split the digits and compose the pictures."""
        # Imported here: scikit-learn takes a second to import, and most runs use other data.
        from sklearn.datasets import load_digits

        source = load_digits()
        glyphs = Glyphs(
            pixels_GHW=torch.from_numpy(source.images).float() / _WHITE,
            digits_G=torch.from_numpy(source.target).long(),
        )
        generator = torch.Generator().manual_seed(seed)
        train, test = glyphs.hold_out(self.test_fraction, generator=generator)
        return self._composition.dataset(
            "digits", train=train, test=test, generator=generator, notes=(), preparation=preparation
        )

    def read_inputs(
        self, path: Path, *, preparation: Mapping[str, Tensor], chunk_rows: int
    ) -> Iterator[Mapping[str, Tensor]]:
        """Stream new pictures from a .npy file; see `read_pictures`."""
        shape = (1, self._composition.canvas, self._composition.canvas)
        mean, scale = preparation["mean"], preparation["scale"]
        for x in read_pictures(path, shape=shape, mean=mean, scale=scale, chunk_rows=chunk_rows):
            yield {"x": x}
