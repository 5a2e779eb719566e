"""Side inputs join the features of another backbone."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, cast

import torch
from annotated_types import Gt, Interval
from torch import Tensor, nn

from mlc.backbones.base import Backbone, dense
from mlc.batch import BatchInput
from mlc.errors import UserError
from mlc.inputs import MAIN, InputSpec


class Join(Backbone):
    """Concatenates side inputs to a feature of a backbone; dense layers with ReLU follow (S8).

    Numbers join as they are, a picture by what a backbone of its own makes of it.

    Args:
        backbone: of the main input.
        inputs: all inputs; those that are not the main one join.
        picture: the backbone of the side input "picture"; needed only where there is one.
        feature: the backbone's feature that the side inputs are concatenated to.
        widths: units of each dense layer after that.
        dropout: dropout after each of these layers.

    Raises:
        UserError: the backbone lacks the feature, or the feature has positions.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        inputs: Mapping[str, InputSpec],
        picture: Backbone | None,
        feature: str,
        widths: list[Annotated[int, Gt(0)]],
        dropout: Annotated[float, Interval(ge=0, lt=1)],
    ):
        super().__init__()
        joinable = [name for name in backbone.feature_sizes if name != "tokens"]
        if feature not in joinable:
            raise UserError(
                f"join.feature={feature} is no feature that side inputs can join: "
                f"this backbone has {', '.join(joinable)}"
            )
        self.backbone = backbone
        self.picture = picture
        self.feature = feature
        self.numbers = [name for name, spec in inputs.items() if name != MAIN and spec.kind == "numbers"]
        size = backbone.feature_sizes[feature] + sum(inputs[name].shape[0] for name in self.numbers)
        size += picture.feature_sizes["pooled"] if picture is not None else 0
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(fan_in, width), nn.ReLU(), nn.Dropout(dropout))
            for fan_in, width in pairwise([size, *widths])
        )
        names = [f"joined{i}" for i in range(1, len(widths) + 1)]
        self.feature_sizes = {
            **{name: backbone.feature_sizes[name] for name in joinable},
            "encoder": backbone.feature_sizes["pooled"],
            **dict(zip(names, widths, strict=True)),
            "pooled": widths[-1] if widths else size,
        }
        for part, inner in (("backbone", backbone), ("picture", picture)):
            if inner is not None:
                factors = inner.learning_rate_factors.items()
                self.learning_rate_factors |= {f"{part}.{name}": factor for name, factor in factors}

    def forward(self, inputs: Mapping[str, BatchInput]) -> dict[str, Tensor]:
        """The backbone's features, its "pooled" as "encoder", and "joined1", ..., "pooled" after joining."""
        given: Mapping[str, BatchInput] = self.backbone({MAIN: inputs[MAIN]})
        features = {name: dense(x) for name, x in given.items()}
        parts = [features[self.feature], *(cast(Tensor, inputs[name]) for name in self.numbers)]
        if self.picture is not None:
            parts.append(self.picture({MAIN: inputs["picture"]})["pooled"])
        features["encoder"] = features["pooled"]
        x_BD = torch.cat(parts, dim=1)
        for i, layer in enumerate(self.layers, start=1):
            x_BD = features[f"joined{i}"] = layer(x_BD)
        features["pooled"] = x_BD
        return features
