import pytest
import torch
from torch import nn

from mlc.backbones.cnn import CNN
from mlc.errors import UserError
from tests.contract.grid import numbers


def cnn(shape: tuple[int, ...], channels: list[int], halvings: int, dropout: float = 0.25) -> CNN:
    torch.manual_seed(0)
    return CNN(inputs=numbers(*shape), channels=channels, halvings=halvings, dropout=dropout)


def leaves(model: CNN) -> list[str]:
    return [type(m).__name__ for m in model.modules() if not list(m.children())]


def test_the_first_convolutions_are_followed_by_pooling() -> None:
    convolution = ["Conv2d", "BatchNorm2d", "ReLU"]
    expected = [*convolution, "MaxPool2d", *convolution, "MaxPool2d", *convolution, "Dropout"]
    assert leaves(cnn((1, 8, 8), [4, 6, 5], halvings=2)) == expected
    assert "MaxPool2d" not in leaves(cnn((1, 8, 8), [4, 6, 5], halvings=0))


def test_channels_of_every_convolution() -> None:
    convolutions = [m for m in cnn((3, 8, 8), [4, 6, 5], halvings=1).modules() if isinstance(m, nn.Conv2d)]
    assert [(m.in_channels, m.out_channels) for m in convolutions] == [(3, 4), (4, 6), (6, 5)]
    assert all(m.kernel_size == (3, 3) for m in convolutions)


def test_features_are_the_largest_value_of_each_channel() -> None:
    model = cnn((1, 6, 5), [1], halvings=0).eval()
    convolution = next(m for m in model.modules() if isinstance(m, nn.Conv2d))
    with torch.no_grad():
        convolution.weight.zero_()
        convolution.weight[0, 0, 1, 1] = 2.0  # doubles every pixel
    x = torch.randn(3, 1, 6, 5)
    # Batch norm at its start divides by sqrt(1 + 1e-5) alone.
    expected = (2 * x).flatten(1).amax(1).clamp(min=0) / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(model({"x": x})["pooled"][:, 0], expected)


def test_where_an_object_stands_does_not_matter() -> None:
    model = cnn((1, 16, 16), [4, 6], halvings=1).eval()
    x = torch.zeros(1, 1, 16, 16)
    x[..., 4:7, 4:7] = torch.rand(3, 3)
    moved = x.roll((4, 2), dims=(2, 3))  # by whole pooling windows, and still away from the border
    torch.testing.assert_close(model({"x": x})["pooled"], model({"x": moved})["pooled"])


def test_dropout_is_on_the_features_in_training_only() -> None:
    model, x = cnn((1, 8, 8), [64], halvings=0, dropout=0.5), torch.randn(8, 1, 8, 8)
    share_of_zeros = (model({"x": x})["pooled"] == 0).float().mean().item()
    assert 0.4 < share_of_zeros < 0.6
    assert (model.eval()({"x": x})["pooled"] > 0).all()


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 9, 5), (1, 28, 28), (2, 7, 30)])
def test_any_picture_that_is_large_enough(shape: tuple[int, ...]) -> None:
    model = cnn(shape, [4, 6], halvings=2)
    assert model({"x": torch.randn(3, *shape)})["pooled"].shape == (3, 6)
    assert model.feature_sizes == {"conv1": 4, "conv2": 6, "tokens": 6, "pooled": 6}


def test_tokens_are_the_positions_of_the_last_map_row_by_row() -> None:
    model = cnn((1, 6, 5), [4, 3], halvings=1).eval()
    features = model({"x": torch.randn(2, 1, 6, 5)})
    assert features["tokens"].shape == (2, 3 * 2, 3)
    assert torch.equal(features["tokens"].amax(1), features["pooled"])
    marked = cnn((1, 2, 3), [1], halvings=0).eval()
    convolution = next(m for m in marked.modules() if isinstance(m, nn.Conv2d))
    with torch.no_grad():
        convolution.weight.zero_()
        convolution.weight[0, 0, 1, 1] = (1 + 1e-5) ** 0.5  # batch norm at its start divides by it
    x = torch.arange(6.0).reshape(1, 1, 2, 3)
    torch.testing.assert_close(marked({"x": x})["tokens"].flatten(), torch.arange(6.0))


def test_each_convolution_gives_its_largest_values() -> None:
    model = cnn((1, 8, 8), [4, 6], halvings=1).eval()
    x = torch.randn(3, 1, 8, 8)
    features = model({"x": x})
    first = model.convolutions[0](x)
    assert torch.equal(features["conv1"], first.amax((2, 3)))
    assert torch.equal(features["conv2"], model.convolutions[1](first).amax((2, 3)))
    assert torch.equal(features["conv2"], features["pooled"])


@pytest.mark.parametrize("shape", [(10,), (8, 8)])
def test_a_table_is_refused_with_the_way_out(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"backbone=cnn reads pictures.*use backbone=mlp"):
        cnn(shape, [4], halvings=0)


@pytest.mark.parametrize(
    ("side", "n_layers", "most"), [(1, 4, 0), (2, 4, 1), (7, 4, 2), (8, 4, 3), (15, 4, 3), (32, 2, 2)]
)
def test_too_many_halvings_are_refused_with_the_number_that_fits(side: int, n_layers: int, most: int) -> None:
    shape, channels = (1, side, 32), [4] * n_layers
    with pytest.raises(UserError, match=rf"pictures of {side}x32 pixels: use at most {most}$"):
        cnn(shape, channels, halvings=most + 1)
    assert cnn(shape, channels, halvings=most)({"x": torch.randn(2, *shape)})["pooled"].shape == (2, 4)
