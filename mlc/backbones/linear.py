"""Linear backbone: the inputs as they are; with a head on top, a linear model."""

import math
from collections.abc import Mapping

from torch import Tensor

from mlc.backbones.base import Backbone


class Linear(Backbone):
    """Flattens the main input and adds nothing, so that the head is a linear (logistic, softmax) model."""

    def __init__(self, *, input_shape: tuple[int, ...]):
        super().__init__()
        self.out_features = math.prod(input_shape)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """The flattened main input."""
        return inputs["x"].flatten(1)
