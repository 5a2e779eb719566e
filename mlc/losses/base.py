"""What every loss is: one number per example, and the meaning it gives to the output it trained."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from mlc.errors import UserError
from mlc.outputs.base import LabelOutput


class PairingError(UserError):
    """The loss cannot train this output model."""


class Loss(nn.Module, ABC):
    """A function of (output, targets), unreduced over examples and summed over labels.

    It owns its inverse link: only the loss knows what its optimum means, so only it may turn a trained
    output into marginals.
    """

    accepts: ClassVar[tuple[type[LabelOutput], ...]]
    ignores_empty_rows: ClassVar[bool] = False

    def check(self, output: LabelOutput) -> None:
        """Raise PairingError if this loss cannot train such an output."""
        if not isinstance(output, self.accepts):
            wanted = " or ".join(kind.__name__ for kind in self.accepts)
            raise PairingError(
                f"{type(self).__name__} trains {wanted}, and the head gives {type(output).__name__}"
            )

    @abstractmethod
    def forward(self, output: LabelOutput, y_BL: Tensor) -> Tensor:
        """B losses."""

    @abstractmethod
    def link(self, output: LabelOutput) -> LabelOutput:
        """The output with the loss's distortion undone; ScoresOnly where that cannot be."""
