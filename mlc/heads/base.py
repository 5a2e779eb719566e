"""What every head is: a layer from features to an output model."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from mlc.outputs.base import LabelOutput


class Head(nn.Module, ABC):
    """Maps features to a batch of distributions over label sets.

    Constructors take the options of the config and, from the experiment, `in_features` (the last dimension
    of the feature that the head reads) and `labels` (LabelStatistics of the training split).
    """

    reads: ClassVar[str] = "pooled"
    """Name of the backbone's feature that comes in: "pooled" is B×D, "tokens" is B×T×C."""

    sparse_layers: ClassVar[tuple[str, ...]] = ()
    """Names of the linear layers that alone read the features: these layers can read sparse rows as they are
    (`mlc/heads/linear_on_rows.py`). A head that names none gets them as a tensor."""

    needs_label_sets: ClassVar[bool] = False
    """Whether `labels.sets_ML` must be there, which costs a sort of all training rows."""

    @abstractmethod
    def forward(self, features: Tensor) -> LabelOutput:
        """The output model of every example."""


class PositionHead(Head):
    """A head that reads the positions of a picture or text."""

    reads: ClassVar[str] = "tokens"

    @abstractmethod
    def forward(self, features: Tensor, mask_BT: Tensor | None = None) -> LabelOutput:
        """The output model of every example.

        Args:
            features: B×T×C, one row per position.
            mask_BT: the backbone's feature "mask", False where a text is over; None where all
                positions count.
        """
