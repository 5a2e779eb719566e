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
    couples_batch: ClassVar[bool] = False
    warning: ClassVar[str | None] = None  # said at the start of every run with this loss

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


class BatchLoss(Loss):
    """A loss of a whole batch that is no sum over its examples, such as one minus F1.

    Splitting a batch changes its value and gradient, so gradient accumulation and several processes do not
    reproduce a large batch, and its value on a split depends on the size of the evaluation batches.
    """

    couples_batch = True

    @abstractmethod
    def of_batch(self, output: LabelOutput, y_BL: Tensor) -> Tensor:
        """The batch's loss, a scalar."""

    def forward(self, output: LabelOutput, y_BL: Tensor) -> Tensor:
        """B copies of the batch's loss: their mean is that loss, and sums over batches weigh by rows."""
        return self.of_batch(output, y_BL).expand(len(y_BL))
