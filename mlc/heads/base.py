"""What every head is: a layer from features to an output model."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from mlc.outputs.base import LabelOutput


class Head(nn.Module, ABC):
    """Maps features to a batch of distributions over label sets.

    Constructors take the options of the config and, from the experiment, `in_features` (D) and `labels`
    (LabelStatistics of the training split).
    """

    @abstractmethod
    def forward(self, features_BD: Tensor) -> LabelOutput:
        """The output model of every example."""
