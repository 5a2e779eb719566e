"""The inputs as they are, flattened; with a linear head on top, a linear model."""

import math
from collections.abc import Mapping

from torch import Tensor

from mlc.backbones.base import Backbone


class Flatten(Backbone):
    """Flattens the main input and adds nothing: the head is the whole model (logistic regression, S7)."""

    def __init__(self, *, input_shape: tuple[int, ...]):
        super().__init__()
        self.feature_sizes = {"pooled": math.prod(input_shape)}

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The flattened main input."""
        return {"pooled": inputs["x"].flatten(1)}
