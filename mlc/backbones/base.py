"""What every backbone is: named inputs in, one row of features out."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn


class Backbone(nn.Module, ABC):
    """Maps named inputs to features.

    Constructors take the options of the config and, from the experiment, `input_shape`: the shape of one
    example's main input, (D,) or (channels, height, width).
    """

    out_features: int

    @abstractmethod
    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """B×out_features features of a batch."""
