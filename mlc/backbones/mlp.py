"""Multi-layer perceptron on the flattened main input."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Literal

from annotated_types import Gt, Interval, Len
from torch import Tensor, nn

from mlc.backbones.base import Backbone
from mlc.backbones.sparse_linear import SparseLinear
from mlc.batch import BatchInput
from mlc.inputs import MAIN, InputSpec, require_kind
from mlc.rows import SparseRows

Norm = Literal["none", "batch", "layer"]


class MLP(Backbone):
    """Dense layers with ReLU: dropout on the input, then per layer linear, norm, ReLU, dropout.

    The first layer reads sparse numbers without making them dense; dropout then falls on the entries that
    are there, which is the same, because dropping a 0 changes nothing.

    Args:
        inputs: what is known of each input; the main one is numbers, pictures or sparse numbers.
        widths: units of each layer.
        input_dropout: dropout on the input.
        dropout: dropout after each layer.
        norm: "none", "batch" or "layer" normalisation before each ReLU.

    Raises:
        UserError: the main input is of another kind.
    """

    def __init__(
        self,
        *,
        inputs: Mapping[str, InputSpec],
        widths: Annotated[list[Annotated[int, Gt(0)]], Len(1)],
        input_dropout: Annotated[float, Interval(ge=0, lt=1)],
        dropout: Annotated[float, Interval(ge=0, lt=1)],
        norm: Norm,
    ):
        super().__init__()
        spec = require_kind(inputs[MAIN], "numbers", "pictures", "sparse", backbone="mlp")
        self.input_dropout = nn.Dropout(input_dropout) if input_dropout else None
        fans_in = [math.prod(spec.shape), *widths[:-1]]
        first: type[nn.Module] = SparseLinear if spec.kind == "sparse" else nn.Linear
        linears = [first, *[nn.Linear] * (len(widths) - 1)]
        self.layers = nn.ModuleList(
            _layer(linear(fan_in, width), width, norm, dropout)
            for linear, fan_in, width in zip(linears, fans_in, widths, strict=True)
        )
        names = [f"layer{i}" for i in range(1, len(widths) + 1)]
        self.feature_sizes = {**dict(zip(names, widths, strict=True)), "pooled": widths[-1]}

    def forward(self, inputs: Mapping[str, BatchInput]) -> dict[str, Tensor]:
        """What each layer gives, "layer1", "layer2", ...; "pooled" is the last."""
        features: dict[str, Tensor] = {}
        x = self._dropped(inputs[MAIN])
        for i, layer in enumerate(self.layers, start=1):
            x = features[f"layer{i}"] = layer(x)
        features["pooled"] = features[f"layer{len(self.layers)}"]
        return features

    def _dropped(self, x: Tensor | SparseRows) -> Tensor | SparseRows:
        rows = x if isinstance(x, SparseRows) else x.flatten(1)
        if self.input_dropout is None:
            return rows
        if isinstance(rows, SparseRows):
            return replace(rows, values_M=self.input_dropout(rows.numbers()))
        dropped: Tensor = self.input_dropout(rows)
        return dropped


def _layer(linear: nn.Module, width: int, norm: Norm, dropout: float) -> nn.Sequential:
    parts: list[nn.Module] = [linear]
    if norm != "none":
        parts.append(nn.BatchNorm1d(width) if norm == "batch" else nn.LayerNorm(width))
    parts.append(nn.ReLU())
    if dropout:
        parts.append(nn.Dropout(dropout))
    return nn.Sequential(*parts)
