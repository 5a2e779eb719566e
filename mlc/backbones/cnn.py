"""Small convolutional network for pictures."""

from collections.abc import Mapping
from typing import Annotated

from annotated_types import Ge, Gt, Interval, Len
from torch import Tensor, nn

from mlc.backbones.base import Backbone
from mlc.errors import UserError


class CNN(Backbone):
    """Convolutions 3×3 with batch norm and ReLU, then the maximum of each channel over the picture.

    A label is true when its object is anywhere on the picture, which is what a maximum over positions says;
    a dense layer on the flattened map would have to learn every position apart.

    Args:
        input_shape: (channels, height, width) of one picture.
        channels: channels of each convolution.
        halvings: the first `halvings` convolutions are followed by max pooling 2×2.
        dropout: dropout on the features.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        channels: Annotated[list[Annotated[int, Gt(0)]], Len(1)],
        halvings: Annotated[int, Ge(0)],
        dropout: Annotated[float, Interval(ge=0, lt=1)],
    ):
        super().__init__()
        _check_fit(input_shape, len(channels), halvings)
        fans_in = [input_shape[0], *channels[:-1]]
        self.convolutions = nn.ModuleList(
            _convolution(fan_in, fan_out, halve=i < halvings)
            for i, (fan_in, fan_out) in enumerate(zip(fans_in, channels, strict=True))
        )
        self.dropout = nn.Dropout(dropout)
        names = [f"conv{i}" for i in range(1, len(channels) + 1)]
        self.feature_sizes = {
            **dict(zip(names, channels, strict=True)),
            "tokens": channels[-1],
            "pooled": channels[-1],
        }

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The largest value of each channel after each convolution, and the last map.

        Returns:
            "conv1", "conv2", ...: B×C maxima over positions; "tokens": B×T×C, the positions of the last map;
            "pooled": the last maxima with dropout.
        """
        features: dict[str, Tensor] = {}
        map_BCHW = inputs["x"]
        for i, convolution in enumerate(self.convolutions, start=1):
            map_BCHW = convolution(map_BCHW)
            features[f"conv{i}"] = map_BCHW.amax((2, 3))
        features["tokens"] = map_BCHW.flatten(2).mT
        features["pooled"] = self.dropout(features[f"conv{len(self.convolutions)}"])
        return features


def _convolution(fan_in: int, fan_out: int, *, halve: bool) -> nn.Sequential:
    parts = [nn.Conv2d(fan_in, fan_out, 3, padding=1, bias=False), nn.BatchNorm2d(fan_out), nn.ReLU()]
    return nn.Sequential(*parts, *([nn.MaxPool2d(2)] if halve else []))


def _check_fit(input_shape: tuple[int, ...], n_layers: int, halvings: int) -> None:
    if len(input_shape) != 3:
        raise UserError(
            f"backbone=cnn needs pictures (channels, height, width), and this data set has rows of shape "
            f"{input_shape}: use backbone=mlp or backbone=linear"
        )
    most = min(n_layers, min(input_shape[1:]).bit_length() - 1)
    if halvings > most:
        raise UserError(
            f"backbone.halvings={halvings} is too much for {n_layers} convolutions on pictures of "
            f"{input_shape[1]}x{input_shape[2]} pixels: use at most {most}"
        )
