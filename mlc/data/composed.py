"""A data set of composed pictures, from glyphs that never cross from one split to another."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mlc.data.dataset import Dataset, Split
from mlc.data.notes import counted
from mlc.data.picture_rows import PictureRows
from mlc.data.pictures import N_DIGITS, Pictures, compose
from mlc.data.standardise import fit_standardisation, standardise
from mlc.errors import UserError

Targets = Literal["presence", "levels"]


@dataclass(frozen=True)
class Glyphs:
    """Single handwritten digits.

    Args:
        pixels_GHW: G×H×W, float32 0..1 or uint8 0..255.
        digits_G: int64, the digit that each glyph shows.
    """

    pixels_GHW: Tensor
    digits_G: Tensor

    def hold_out(self, fraction: float, *, generator: torch.Generator) -> tuple["Glyphs", "Glyphs"]:
        """Split at random into the rest and a share `fraction`, the same share of every digit.

        Raises:
            UserError: one side would have no glyph.
        """
        held_G = torch.zeros(len(self.digits_G), dtype=torch.bool)
        for digit in range(N_DIGITS):
            rows = (self.digits_G == digit).nonzero().squeeze(1)
            order = torch.randperm(len(rows), generator=generator)
            held_G[rows[order[: round(fraction * len(rows))]]] = True
        if held_G.all() or not held_G.any():
            raise UserError(
                f"Holding out a fraction of {fraction} of {len(held_G)} digits leaves a split empty."
            )
        rest = Glyphs(self.pixels_GHW[~held_G], self.digits_G[~held_G])
        return rest, Glyphs(self.pixels_GHW[held_G], self.digits_G[held_G])


@dataclass(frozen=True, kw_only=True)
class Composition:
    """How many pictures to compose, and how.

    Args:
        n_train: pictures for training and validation together.
        n_test: pictures for testing.
        valid_fraction: share of the training glyphs, and of `n_train`, held out for validation.
        canvas: height and width of a picture, pixels.
        grid: the canvas has grid×grid cells, each with one digit at most.
        max_digits: most digits on one picture.
        min_digits: fewest digits on one picture.
        targets: "presence" (1 where a digit is on the picture) or "levels" (how many copies of it are). The
            highest level is the most copies on any training picture, in all splits; more count as that many.
    """

    n_train: int
    n_test: int
    valid_fraction: float
    canvas: int
    grid: int
    max_digits: int
    min_digits: int = 0
    targets: Targets = "presence"

    def dataset(
        self,
        name: str,
        *,
        train: Glyphs,
        test: Glyphs,
        generator: torch.Generator,
        notes: tuple[str, ...],
        preparation: Mapping[str, Tensor] | None = None,
    ) -> Dataset:
        """Hold out validation glyphs from `train`, compose the three splits and standardise them.

        Args:
            name: short name of the data set.
            train, test: the glyphs.
            generator: source of all randomness.
            notes: further sentences on the data.
            preparation: "mean" and "scale" of another run; None fits them on the training pictures.

        Raises:
            UserError: a split would be empty.
        """
        n_valid = round(self.valid_fraction * self.n_train)
        n_rest = self.n_train - n_valid
        if not n_valid or not n_rest:
            raise UserError(
                f"n_train={self.n_train} and valid_fraction={self.valid_fraction} give {n_rest} training and "
                f"{n_valid} validation pictures; both need at least one."
            )
        rest, held = train.hold_out(self.valid_fraction, generator=generator)
        # Train comes last, so that its size does not change the other pictures.
        pictures = {
            "test": self._compose(test, self.n_test, generator),
            "valid": self._compose(held, n_valid, generator),
            "train": self._compose(rest, n_rest, generator),
        }
        if preparation is None:
            mean, scale = _fit(pictures["train"].x)
            preparation = {"mean": mean, "scale": scale}
        mean, scale = preparation["mean"], preparation["scale"]
        y, target_notes = self._targets(pictures)
        splits = {
            key: Split({"x": _standardised(composed.x, mean=mean, scale=scale)}, y[key])
            for key, composed in pictures.items()
        }
        return Dataset(
            name=name,
            label_names=tuple(str(digit) for digit in range(N_DIGITS)),
            train=splits["train"],
            valid=splits["valid"],
            test=splits["test"],
            preparation=preparation,
            notes=(
                f"Composed from {len(rest.digits_G)} training, {len(held.digits_G)} validation and "
                f"{len(test.digits_G)} test glyphs; no glyph is in two splits.",
                *target_notes,
                *notes,
            ),
        )

    def _targets(self, pictures: Mapping[str, Pictures]) -> tuple[dict[str, Tensor], list[str]]:
        """The targets of each split, by its name, and what there is to say about them."""
        if self.targets == "presence":
            return {key: composed.presence for key, composed in pictures.items()}, []
        # A model has as many levels as it saw in training. At least 1, so that presence survives.
        highest = max(1, int(pictures["train"].copies_NL.max()))
        notes = [f"The targets are how many copies of each digit are on the picture, 0 to {highest}."]
        n_more = sum(int((composed.copies_NL > highest).sum()) for composed in pictures.values())
        if n_more:
            notes.append(
                f"{counted(n_more, 'validation or test target is', 'validation or test targets are')} more "
                f"copies than on any training picture; they count as {highest}."
            )
        return {key: composed.levels(highest=highest) for key, composed in pictures.items()}, notes

    def _compose(self, glyphs: Glyphs, n_pictures: int, generator: torch.Generator) -> Pictures:
        return compose(
            glyphs.pixels_GHW,
            glyphs.digits_G,
            n_pictures=n_pictures,
            canvas=self.canvas,
            grid=self.grid,
            max_digits=self.max_digits,
            min_digits=self.min_digits,
            generator=generator,
        )


def _fit(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and scale of the pictures on the scale 0..1."""
    return PictureRows.every(x).fit() if x.dtype == torch.uint8 else fit_standardisation(x)


def _standardised(x: Tensor, *, mean: Tensor, scale: Tensor) -> Tensor | PictureRows:
    """The pictures as inputs; bytes stay bytes, which take a quarter of the memory."""
    if x.dtype == torch.uint8:
        return PictureRows.every(x).standardised(mean=mean, scale=scale)
    return standardise(x, mean=mean, scale=scale)
