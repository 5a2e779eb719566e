import pytest
import torch
from torch import Tensor

from mlc.data.pictures import Pictures, check_layout, compose
from mlc.errors import UserError

# Glyph d is a 4×4 square of one brightness, (d + 1) / 10, so that a picture tells what stands on it.
DIGITS = torch.arange(10)
GLYPHS = ((DIGITS + 1) / 10)[:, None, None].expand(10, 4, 4)


def squares(*, n_pictures: int = 400, max_digits: int = 5, canvas: int = 20, seed: int = 0) -> Pictures:
    return compose(
        GLYPHS,
        DIGITS,
        n_pictures=n_pictures,
        canvas=canvas,
        grid=3,
        max_digits=max_digits,
        generator=torch.Generator().manual_seed(seed),
    )


def seen_copies(x: Tensor) -> Tensor:
    """Copies of each digit, read off the pixels."""
    values = (x * 10).round().long() - 1
    return torch.stack([(values == digit).flatten(1).sum(1) // 16 for digit in range(10)], dim=1)


def test_the_pixels_show_what_the_copies_say() -> None:
    pictures = squares()
    assert pictures.x.shape == (400, 1, 20, 20)
    assert pictures.x.dtype == torch.float32
    # Whole 16-pixel squares: nothing overlaps, nothing is cut.
    assert torch.equal((pictures.x > 0).flatten(1).sum(1), 16 * pictures.copies_NL.sum(1))
    assert torch.equal(seen_copies(pictures.x), pictures.copies_NL)


def test_targets_are_the_digits_that_are_there() -> None:
    pictures = squares()
    assert pictures.presence.dtype == torch.float32
    assert torch.equal(pictures.presence.bool(), pictures.copies_NL > 0)
    assert pictures.copies_NL.max() > 1  # repeats occur


def test_levels_are_the_copies_up_to_the_highest() -> None:
    pictures = Pictures(torch.zeros(2, 1, 1, 1), torch.tensor([[0, 1, 2], [3, 4, 0]]))
    levels = pictures.levels(highest=3)
    assert levels.dtype == torch.float32
    assert levels.tolist() == [[0, 1, 2], [3, 3, 0]]


def test_number_of_digits_is_uniform() -> None:
    counts_N = squares(n_pictures=6000).copies_NL.sum(1)
    shares = counts_N.bincount() / 6000
    assert len(shares) == 6
    assert shares.sub(1 / 6).abs().max() < 0.02  # four standard deviations


def test_every_reachable_place_is_used() -> None:
    lit = squares(n_pictures=3000).x.sum((0, 1)) > 0
    # Three cells of 6 pixels from the top left; the last 2 pixels of 20 belong to no cell.
    assert lit[:18, :18].all()
    assert not lit[18:].any()
    assert not lit[:, 18:].any()


def test_the_generator_decides() -> None:
    assert torch.equal(squares(seed=1).x, squares(seed=1).x)
    assert not torch.equal(squares(seed=1).x, squares(seed=2).x)


def test_more_pictures_than_one_chunk() -> None:
    pictures = squares(n_pictures=2500)
    assert torch.equal(seen_copies(pictures.x), pictures.copies_NL)


def test_too_many_digits_for_the_grid() -> None:
    with pytest.raises(UserError, match="max_digits=5 needs more than the 4 cells of grid=2"):
        check_layout(glyph_size=8, canvas=28, grid=2, max_digits=5)


def test_cells_smaller_than_a_digit() -> None:
    with pytest.raises(UserError, match="cells of 7 pixels, but a digit is 8"):
        check_layout(glyph_size=8, canvas=21, grid=3, max_digits=5)


def test_min_digits_is_the_fewest_on_a_picture_and_with_one_digit_there_is_one_label() -> None:
    glyphs, digits = torch.ones(20, 2, 2), torch.arange(20) % 10
    options = {"canvas": 6, "grid": 3, "generator": torch.Generator().manual_seed(0)}
    several = compose(glyphs, digits, n_pictures=300, min_digits=2, max_digits=4, **options)
    assert set(several.copies_NL.sum(1).tolist()) == {2, 3, 4}
    single = compose(glyphs, digits, n_pictures=300, min_digits=1, max_digits=1, **options)
    assert (single.presence.sum(1) == 1).all()


def test_more_digits_at_least_than_at_most_is_refused() -> None:
    with pytest.raises(UserError, match="min_digits=3 is more than max_digits=2"):
        check_layout(glyph_size=2, canvas=6, grid=3, max_digits=2, min_digits=3)
