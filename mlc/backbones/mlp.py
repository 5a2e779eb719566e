"""Multi-layer perceptron on the flattened main input."""

import math
from collections.abc import Mapping
from typing import Annotated, Literal

from annotated_types import Gt, Interval, Len
from torch import Tensor, nn

from mlc.backbones.base import Backbone

Norm = Literal["none", "batch", "layer"]


class MLP(Backbone):
    """Dense layers with ReLU: dropout on the input, then per layer linear, norm, ReLU, dropout.

    Args:
        input_shape: shape of one example's main input.
        widths: units of each layer.
        input_dropout: dropout on the input.
        dropout: dropout after each layer.
        norm: "none", "batch" or "layer" normalisation before each ReLU.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        widths: Annotated[list[Annotated[int, Gt(0)]], Len(1)],
        input_dropout: Annotated[float, Interval(ge=0, lt=1)],
        dropout: Annotated[float, Interval(ge=0, lt=1)],
        norm: Norm,
    ):
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        if input_dropout:
            layers.append(nn.Dropout(input_dropout))
        fan_in = math.prod(input_shape)
        for width in widths:
            layers.append(nn.Linear(fan_in, width))
            if norm != "none":
                layers.append(nn.BatchNorm1d(width) if norm == "batch" else nn.LayerNorm(width))
            layers.append(nn.ReLU())
            if dropout:
                layers.append(nn.Dropout(dropout))
            fan_in = width
        self.layers = nn.Sequential(*layers)
        self.out_features = fan_in

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Features of the last layer."""
        features_BD: Tensor = self.layers(inputs["x"])
        return features_BD
