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
        self.input = nn.Sequential(nn.Flatten(), *([nn.Dropout(input_dropout)] if input_dropout else []))
        fans_in = [math.prod(input_shape), *widths[:-1]]
        self.layers = nn.ModuleList(
            _layer(fan_in, width, norm, dropout) for fan_in, width in zip(fans_in, widths, strict=True)
        )
        names = [f"layer{i}" for i in range(1, len(widths) + 1)]
        self.feature_sizes = {**dict(zip(names, widths, strict=True)), "pooled": widths[-1]}

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What each layer gives, "layer1", "layer2", ...; "pooled" is the last."""
        features: dict[str, Tensor] = {}
        x_BD = self.input(inputs["x"])
        for i, layer in enumerate(self.layers, start=1):
            x_BD = features[f"layer{i}"] = layer(x_BD)
        features["pooled"] = x_BD
        return features


def _layer(fan_in: int, width: int, norm: Norm, dropout: float) -> nn.Sequential:
    parts: list[nn.Module] = [nn.Linear(fan_in, width)]
    if norm != "none":
        parts.append(nn.BatchNorm1d(width) if norm == "batch" else nn.LayerNorm(width))
    parts.append(nn.ReLU())
    if dropout:
        parts.append(nn.Dropout(dropout))
    return nn.Sequential(*parts)
