"""Small convolutional network for pictures."""

from collections.abc import Mapping
from typing import Annotated

from annotated_types import Ge, Gt, Interval, Len
from torch import Tensor, nn

from mlc.backbones.base import Backbone, dense_input
from mlc.backbones.channels_last import ChannelsLast, laid_out
from mlc.batch import BatchInput
from mlc.errors import UserError
from mlc.inputs import MAIN, InputSpec, require_kind


class CNN(Backbone):
    """Convolutions 3×3 with batch norm and ReLU, then the maximum of each channel over the picture.

    A label is true when its object is anywhere on the picture, which is what a maximum over positions says;
    a dense layer on the flattened map would have to learn every position apart.

    Args:
        inputs: what is known of each input; the main one is pictures.
        channels: channels of each convolution.
        halvings: the first `halvings` convolutions are followed by max pooling 2×2.
        dropout: dropout on the features.
        channels_last: lay the pictures out with their channels last in memory, which changes nothing but
            time and rounding: True, False, or "auto" for processors, and for CUDA in bf16 and fp16.

    Raises:
        UserError: the main input is no picture, or too small to be halved so often.
    """

    def __init__(
        self,
        *,
        inputs: Mapping[str, InputSpec],
        channels: Annotated[list[Annotated[int, Gt(0)]], Len(1)],
        halvings: Annotated[int, Ge(0)],
        dropout: Annotated[float, Interval(ge=0, lt=1)],
        channels_last: ChannelsLast = "auto",  # older run folders do not have it
    ):
        super().__init__()
        self.channels_last = channels_last
        depth, *sides = require_kind(inputs[MAIN], "pictures", backbone="cnn").shape
        _check_size(sides, len(channels), halvings)
        fans_in = [depth, *channels[:-1]]
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

    def forward(self, inputs: Mapping[str, BatchInput]) -> dict[str, Tensor]:
        """The largest value of each channel after each convolution, and the last map.

        Returns:
            "conv1", "conv2", ...: B×C maxima over positions; "tokens": B×T×C, the positions of the last map;
            "pooled": the last maxima with dropout.
        """
        features: dict[str, Tensor] = {}
        map_BCHW = laid_out(dense_input(inputs), self.channels_last, pays_on_cpu=True)
        for i, convolution in enumerate(self.convolutions, start=1):
            map_BCHW = convolution(map_BCHW)
            features[f"conv{i}"] = map_BCHW.amax((2, 3))
        features["tokens"] = map_BCHW.flatten(2).mT
        features["pooled"] = self.dropout(features[f"conv{len(self.convolutions)}"])
        return features


def _convolution(fan_in: int, fan_out: int, *, halve: bool) -> nn.Sequential:
    parts = [nn.Conv2d(fan_in, fan_out, 3, padding=1, bias=False), nn.BatchNorm2d(fan_out), nn.ReLU()]
    return nn.Sequential(*parts, *([nn.MaxPool2d(2)] if halve else []))


def _check_size(sides: list[int], n_layers: int, halvings: int) -> None:
    most = min(n_layers, min(sides).bit_length() - 1)
    if halvings > most:
        raise UserError(
            f"backbone.halvings={halvings} is too much for {n_layers} convolutions on pictures of "
            f"{sides[0]}x{sides[1]} pixels: use at most {most}"
        )
