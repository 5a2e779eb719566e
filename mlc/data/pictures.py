"""Composing pictures with several digits, so that a picture has several labels."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mlc.errors import UserError

N_DIGITS = 10
_CHUNK_PICTURES = 1024  # bounds the memory of the pixel indices


@dataclass(frozen=True)
class Pictures:
    """Composed pictures and what is on them.

    Args:
        x: N×1×H×W, 0 where empty; float32 up to 1 or uint8 up to 255, like the glyphs.
        copies_NL: int64, how often each digit stands on each picture.
    """

    x: Tensor
    copies_NL: Tensor

    @property
    def presence(self) -> Tensor:
        """Float32 targets N×L: 1 where the digit is there at all."""
        return (self.copies_NL > 0).float()

    def levels(self, *, highest: int) -> Tensor:
        """Float32 targets N×L: how often the digit is there, at most `highest`."""
        return self.copies_NL.clamp(max=highest).float()


def check_layout(*, glyph_size: int, canvas: int, grid: int, max_digits: int, min_digits: int = 0) -> None:
    """Raise a UserError unless `max_digits` glyphs fit into the cells of a grid×grid canvas."""
    if min_digits > max_digits:
        raise UserError(f"min_digits={min_digits} is more than max_digits={max_digits}; lower it.")
    if max_digits > grid**2:
        raise UserError(
            f"max_digits={max_digits} needs more than the {grid**2} cells of grid={grid}; raise grid."
        )
    if canvas // grid < glyph_size:
        raise UserError(
            f"canvas={canvas} with grid={grid} has cells of {canvas // grid} pixels, "
            f"but a digit is {glyph_size} pixels wide; enlarge canvas or lower grid."
        )


def compose(
    glyphs_GHW: Tensor,
    digits_G: Tensor,
    *,
    n_pictures: int,
    canvas: int,
    grid: int,
    max_digits: int,
    generator: torch.Generator,
    min_digits: int = 0,
) -> Pictures:
    """Place `min_digits` to `max_digits` random glyphs on each picture, in separate cells, moved within them.

    The number of glyphs is uniform. A digit may stand on a picture more than once, so the number of labels
    is at most the number of glyphs.

    Args:
        glyphs_GHW: G square glyphs, float32 0..1 or uint8 0..255.
        digits_G: int64, the digit that each glyph shows.
        n_pictures: how many pictures to compose.
        canvas: height and width of a picture, pixels.
        grid: the canvas has grid×grid cells.
        max_digits: most glyphs on one picture, K.
        generator: source of all randomness.
        min_digits: fewest glyphs on one picture.
    """
    size = glyphs_GHW.shape[-1]
    check_layout(glyph_size=size, canvas=canvas, grid=grid, max_digits=max_digits, min_digits=min_digits)
    cell = canvas // grid
    shape = (n_pictures, max_digits)

    counts_N = torch.randint(min_digits, max_digits + 1, (n_pictures, 1), generator=generator)
    used_NK = torch.arange(max_digits) < counts_N
    cells_NK = torch.rand(n_pictures, grid**2, generator=generator).argsort(1)[:, :max_digits]
    glyph_NK = torch.randint(len(glyphs_GHW), shape, generator=generator)
    top_NK = cells_NK // grid * cell + torch.randint(cell - size + 1, shape, generator=generator)
    left_NK = cells_NK % grid * cell + torch.randint(cell - size + 1, shape, generator=generator)

    x = torch.zeros(n_pictures, 1, canvas, canvas, dtype=glyphs_GHW.dtype)
    pixels = torch.arange(size)
    for start in range(0, n_pictures, _CHUNK_PICTURES):
        picture_P, slot_P = used_NK[start : start + _CHUNK_PICTURES].nonzero(as_tuple=True)
        picture_P = picture_P + start
        rows_PH = top_NK[picture_P, slot_P, None] + pixels
        columns_PW = left_NK[picture_P, slot_P, None] + pixels
        glyphs_PHW = glyphs_GHW[glyph_NK[picture_P, slot_P]]
        x[picture_P[:, None, None], 0, rows_PH[:, :, None], columns_PW[:, None, :]] = glyphs_PHW

    copies_NL = torch.zeros(n_pictures, N_DIGITS, dtype=torch.int64)
    copies_NL.scatter_add_(1, digits_G[glyph_NK], used_NK.long())
    return Pictures(x, copies_NL)
