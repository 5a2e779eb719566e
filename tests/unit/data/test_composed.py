import pytest
import torch

from mlc.data.composed import Composition, Glyphs
from mlc.data.dataset import Dataset
from mlc.data.picture_rows import PictureRows
from mlc.errors import UserError
from mlc.inputs import InputSpec


def glyphs(n_each: int) -> Glyphs:
    """Single-pixel glyphs whose brightness tells them apart."""
    n = 10 * n_each
    return Glyphs((torch.arange(n) + 1).view(n, 1, 1) / n, torch.arange(10).repeat(n_each))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def composition(**changes: float | str) -> Composition:
    options = {"n_train": 200, "n_test": 50, "valid_fraction": 0.2, "canvas": 6, "grid": 3, "max_digits": 3}
    return Composition(**(options | changes))  # type: ignore[arg-type]


def test_held_out_glyphs_are_the_same_share_of_every_digit() -> None:
    source = glyphs(20)
    rest, held = source.hold_out(0.25, generator=generator())
    assert held.digits_G.bincount().tolist() == [5] * 10
    assert rest.digits_G.bincount().tolist() == [15] * 10
    together = torch.cat([rest.pixels_GHW, held.pixels_GHW]).flatten()
    assert torch.equal(together.sort().values, source.pixels_GHW.flatten())


def test_holding_out_nothing_is_an_error() -> None:
    with pytest.raises(UserError, match="leaves a split empty"):
        glyphs(2).hold_out(0.1, generator=generator())


def test_splits_have_their_sizes_and_share_no_glyph() -> None:
    train, test = glyphs(40).hold_out(0.5, generator=generator())
    data = composition().dataset("set", train=train, test=test, generator=generator(), notes=("Said.",))
    assert [len(split) for split in (data.train, data.valid, data.test)] == [160, 40, 50]
    assert data.label_names == tuple("0123456789")
    assert data.inputs == {"x": InputSpec("pictures", (1, 6, 6))}
    assert "160 training, 40 validation and 200 test glyphs" in data.notes[0]
    assert data.notes[1] == "Said."

    mean, scale = data.preparation["mean"], data.preparation["scale"]
    shown = [
        set((split.inputs["x"] * scale + mean).mul(400).round().unique().tolist()) - {0}
        for split in (data.train, data.valid, data.test)
    ]
    assert min(len(one) for one in shown) > 10
    assert shown[0].isdisjoint(shown[1])
    assert shown[1].isdisjoint(shown[2])
    assert shown[0].isdisjoint(shown[2])


def both_targets(**changes: float) -> tuple[Dataset, Dataset]:
    """The same data set with presence and with levels as targets."""
    presence, levels = (
        composition(targets=targets, **changes).dataset(
            "set", train=glyphs(9), test=glyphs(9), generator=generator(), notes=("Said.",)
        )
        for targets in ("presence", "levels")
    )
    return presence, levels


def test_levels_are_of_the_same_pictures() -> None:
    presence, levels = both_targets(n_train=2000)
    for name in ("train", "valid", "test"):
        one, other = getattr(presence, name), getattr(levels, name)
        assert torch.equal(one.inputs["x"], other.inputs["x"])
        assert torch.equal(one.y_NL, (other.y_NL > 0).float())
        assert other.y_NL.dtype == torch.float32
    assert levels.train.y_NL.unique().tolist() == [0, 1, 2, 3]
    assert levels.label_names == presence.label_names
    assert levels.notes == (
        presence.notes[0],
        "The targets are how many copies of each digit are on the picture, 0 to 3.",
        "Said.",
    )


def test_levels_never_exceed_those_of_train() -> None:
    # Two training pictures of nine digits each; among 3000 test pictures some have more of one digit.
    few = {"n_train": 4, "n_test": 3000, "valid_fraction": 0.5, "min_digits": 9, "max_digits": 9}
    presence, levels = both_targets(**few)
    highest = levels.train.y_NL.max()
    assert levels.test.y_NL.max() == highest
    assert torch.equal(presence.test.y_NL, (levels.test.y_NL > 0).float())
    note = next(note for note in levels.notes if "more copies" in note)
    assert note.endswith(f"they count as {highest:.0f}.")
    assert 0 < int(note.split()[0]) <= (levels.test.y_NL == highest).sum() + len(levels.valid) * 10


def test_presence_survives_training_pictures_without_digits() -> None:
    few = {"n_train": 2, "valid_fraction": 0.5, "max_digits": 1}
    for seed in range(20):
        data = composition(targets="levels", **few).dataset(
            "set", train=glyphs(9), test=glyphs(9), generator=generator(seed), notes=()
        )
        assert data.test.y_NL.max() == 1


def test_training_pictures_are_standardised() -> None:
    data = composition().dataset("set", train=glyphs(9), test=glyphs(9), generator=generator(), notes=())
    x = data.train.inputs["x"]
    assert x.mean().item() == pytest.approx(0, abs=1e-5)
    assert x.std(correction=0).item() == pytest.approx(1, abs=1e-5)


def test_more_training_pictures_leave_the_test_pictures_alone() -> None:
    few, many = (
        composition(n_train=n).dataset(
            "set", train=glyphs(9), test=glyphs(9), generator=generator(), notes=()
        )
        for n in (100, 300)
    )
    assert torch.equal(few.test.y_NL, many.test.y_NL)


@pytest.mark.parametrize(("n_train", "valid_fraction"), [(1, 0.2), (2, 0.9)])
def test_empty_split_is_an_error(n_train: int, valid_fraction: float) -> None:
    with pytest.raises(UserError, match="both need at least one"):
        composition(n_train=n_train, valid_fraction=valid_fraction).dataset(
            "set", train=glyphs(9), test=glyphs(9), generator=generator(), notes=()
        )


def test_bytes_and_floats_are_the_same_pictures() -> None:
    source = glyphs(9)
    grey = Glyphs((source.pixels_GHW * 255).round().to(torch.uint8), source.digits_G)
    same = Glyphs(grey.pixels_GHW.float() / 255, source.digits_G)
    bytes_, floats = (
        composition().dataset("set", train=one, test=one, generator=generator(), notes=())
        for one in (grey, same)
    )
    for key in ("mean", "scale"):
        torch.testing.assert_close(bytes_.preparation[key], floats.preparation[key])
    rows = torch.arange(len(floats.test))
    assert isinstance(bytes_.test.inputs["x"], PictureRows)
    torch.testing.assert_close(bytes_.test.inputs["x"][rows], floats.test.inputs["x"][rows])
    assert torch.equal(bytes_.test.y_NL, floats.test.y_NL)
