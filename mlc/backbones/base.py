"""What every backbone is: named inputs in, named features out."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn


class Backbone(nn.Module, ABC):
    """Maps named inputs to named features.

    Constructors take the options of the config and, from the experiment, `input_shape`: the shape of one
    example's main input, (D,) or (channels, height, width).

    Every backbone has the feature "pooled", one row per example, which most heads read. Those with positions
    (of a picture, of a text) also have "tokens", B×T×C, one row per position. Further names are layers on
    the way.
    """

    feature_sizes: dict[str, int]
    """The last dimension of each feature, by its name; the names are those that `forward` gives."""

    @abstractmethod
    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The features of a batch by name: B×D each, but B×T×C for "tokens"."""
