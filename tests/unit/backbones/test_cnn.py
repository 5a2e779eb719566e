import pytest
import torch
from torch import nn

from mlc.backbones.cnn import CNN
from mlc.errors import UserError


def cnn(input_shape: tuple[int, ...], channels: list[int], convolutions: int = 2) -> CNN:
    return CNN(input_shape=input_shape, channels=channels, convolutions=convolutions, width=7, dropout=0.25)


def test_layers_of_two_blocks() -> None:
    leaves = [type(m).__name__ for m in cnn((1, 8, 8), [4, 6]).modules() if not list(m.children())]
    block = ["Conv2d", "BatchNorm2d", "ReLU", "Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"]
    assert leaves == [*block, *block, "Flatten", "Linear", "ReLU", "Dropout"]


def test_channels_of_every_convolution() -> None:
    convolutions = [m for m in cnn((3, 8, 8), [4, 6]).modules() if isinstance(m, nn.Conv2d)]
    assert [(m.in_channels, m.out_channels) for m in convolutions] == [(3, 4), (4, 4), (4, 6), (6, 6)]
    assert all(m.kernel_size == (3, 3) for m in convolutions)


@pytest.mark.parametrize("convolutions", [1, 3])
def test_number_of_convolutions(convolutions: int) -> None:
    model = cnn((1, 8, 8), [4, 6], convolutions)
    assert sum(isinstance(m, nn.Conv2d) for m in model.modules()) == 2 * convolutions


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 9, 5), (1, 28, 28), (2, 7, 30)])
def test_any_picture_that_is_large_enough(shape: tuple[int, ...]) -> None:
    model = cnn(shape, [4, 6])
    assert model({"x": torch.randn(3, *shape)}).shape == (3, 7)
    assert model.out_features == 7


@pytest.mark.parametrize("shape", [(10,), (8, 8)])
def test_a_table_is_refused_with_the_way_out(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"backbone=cnn needs pictures.*use backbone=mlp"):
        cnn(shape, [4])


@pytest.mark.parametrize(("side", "most"), [(2, 1), (7, 2), (8, 3), (15, 3)])
def test_too_many_blocks_are_refused_with_the_number_that_fits(side: int, most: int) -> None:
    shape = (1, side, 32)
    with pytest.raises(UserError, match=f"too many for {side}x32 pixels: use at most {most}"):
        cnn(shape, [4] * (most + 1))
    assert cnn(shape, [4] * most)({"x": torch.randn(2, *shape)}).shape == (2, 7)


def test_a_picture_moved_by_one_block_of_pixels_gives_other_features() -> None:
    # Position is kept (flatten, not a global mean): where a digit stands may matter.
    torch.manual_seed(0)
    model = cnn((1, 8, 8), [4]).eval()
    x = torch.zeros(1, 1, 8, 8)
    x[..., 2:4, 2:4] = 1
    moved = x.roll(2, dims=3)
    assert not torch.allclose(model({"x": x}), model({"x": moved}))
