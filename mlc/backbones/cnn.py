"""Small convolutional network for pictures."""

from collections.abc import Mapping
from typing import Annotated

from annotated_types import Gt, Interval, Len
from torch import Tensor, nn

from mlc.backbones.base import Backbone
from mlc.errors import UserError


class CNN(Backbone):
    """Blocks of (convolution 3×3, batch norm, ReLU) repeated, then max pooling 2; at the end a dense layer.

    Args:
        input_shape: (channels, height, width) of one picture.
        channels: channels of each block.
        convolutions: convolutions per block.
        width: units of the dense layer.
        dropout: dropout after the dense layer.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        channels: Annotated[list[Annotated[int, Gt(0)]], Len(1)],
        convolutions: Annotated[int, Gt(0)],
        width: Annotated[int, Gt(0)],
        dropout: Annotated[float, Interval(ge=0, lt=1)],
    ):
        super().__init__()
        if len(input_shape) != 3:
            raise UserError(
                f"backbone=cnn needs pictures (channels, height, width), and this data set has rows of shape "
                f"{input_shape}: use backbone=mlp or backbone=linear"
            )
        smallest = min(input_shape[1:])
        if smallest < 2 ** len(channels):
            raise UserError(
                f"backbone.channels has {len(channels)} blocks that halve the picture, too many for "
                f"{input_shape[1]}x{input_shape[2]} pixels: use at most {smallest.bit_length() - 1}"
            )
        layers: list[nn.Module] = []
        fan_in = input_shape[0]
        for fan_out in channels:
            for _ in range(convolutions):
                layers += [
                    nn.Conv2d(fan_in, fan_out, 3, padding=1, bias=False),
                    nn.BatchNorm2d(fan_out),
                    nn.ReLU(),
                ]
                fan_in = fan_out
            layers.append(nn.MaxPool2d(2))
        layers.append(nn.Flatten())
        self.convolutions = nn.Sequential(*layers)
        flat = fan_in * (input_shape[1] >> len(channels)) * (input_shape[2] >> len(channels))
        self.dense = nn.Sequential(nn.Linear(flat, width), nn.ReLU(), nn.Dropout(dropout))
        self.out_features = width

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Features of the dense layer."""
        features_BD: Tensor = self.dense(self.convolutions(inputs["x"]))
        return features_BD
