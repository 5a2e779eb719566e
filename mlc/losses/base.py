"""What every loss is: one number per example, and the meaning it gives to the output it trained."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from mlc.batch import split_unknown
from mlc.errors import UserError
from mlc.outputs.base import LabelOutput


class PairingError(UserError):
    """The loss cannot train this output model."""


class Loss(nn.Module, ABC):
    """A function of (output, targets, weights), unreduced over examples and summed over labels.

    Unknown targets are NaN and count as if they were not there; weight k counts as k such rows. A loss
    derives from the class that says over what it is a sum: LabelLoss, ExampleLoss or BatchLoss.

    It owns its inverse link: only the loss knows what its optimum means, so only it may turn a trained
    output into marginals.
    """

    accepts: ClassVar[tuple[type[LabelOutput], ...]]
    accepts_levels: ClassVar[tuple[type[LabelOutput], ...]] = ()  # those of them whose targets are levels
    ignores_empty_rows: ClassVar[bool] = False
    couples_batch: ClassVar[bool] = False
    warning: ClassVar[str | None] = None  # said at the start of every run with this loss
    sums_over_labels: ClassVar[tuple[type[LabelOutput], ...]] = ()
    """Outputs for which it is a sum over labels of a function of the label's own logit and target. The loss
    of some labels then needs no others, and what it knows of each label is in buffers named ..._L."""

    def check(self, output: LabelOutput) -> None:
        """Raise PairingError if this loss cannot train such an output."""
        if not isinstance(output, self.accepts):
            wanted = " or ".join(kind.__name__ for kind in self.accepts)
            raise PairingError(
                f"{type(self).__name__} trains {wanted}, and the head gives {type(output).__name__}"
            )

    def reads_levels(self, output: LabelOutput) -> bool:
        """True where the targets must be the levels themselves, and not whether the label is there."""
        return isinstance(output, self.accepts_levels)

    @abstractmethod
    def forward(
        self, output: LabelOutput, y_BL: Tensor, weight_B: Tensor | None = None, *, all_known: bool = False
    ) -> Tensor:
        """B losses; the objective is their mean.

        Args:
            output: what the head gives for B examples.
            y_BL: targets 0 or 1 (levels where `reads_levels`), NaN where unknown; a row without a known
                label costs 0.
            weight_B: weights >= 0 of the examples, already in the losses; None where all are 1.
            all_known: a promise that y_BL has no NaN.
        """

    def mean(
        self, output: LabelOutput, y_BL: Tensor, weight_B: Tensor | None = None, *, all_known: bool = False
    ) -> Tensor:
        """The mean of the B losses, one number: what a step makes smaller."""
        mean: Tensor = self(output, y_BL, weight_B, all_known=all_known).mean()
        return mean

    @abstractmethod
    def link(self, output: LabelOutput) -> LabelOutput:
        """The output with the loss's distortion undone; ScoresOnly where that cannot be."""


class ExampleLoss(Loss):
    """A sum over examples."""

    @abstractmethod
    def per_example(self, output: LabelOutput, y_BL: Tensor) -> Tensor:
        """B losses of weight 1; y_BL is NaN where unknown."""

    def where_all_known(self, output: LabelOutput, y_BL: Tensor) -> Tensor:
        """B losses of weight 1, the same as `per_example`, where y_BL has no NaN."""
        return self.per_example(output, y_BL)

    def forward(
        self, output: LabelOutput, y_BL: Tensor, weight_B: Tensor | None = None, *, all_known: bool = False
    ) -> Tensor:
        """Each example's loss times its weight."""
        loss_B = (self.where_all_known if all_known else self.per_example)(output, y_BL)
        return loss_B if weight_B is None else loss_B * weight_B


class LabelLoss(ExampleLoss):
    """A sum over examples and labels."""

    @abstractmethod
    def per_label(self, output: LabelOutput, y_BL: Tensor) -> Tensor:
        """B×L losses; y_BL is 0 where unknown, and what stands there is left out."""

    def per_example(self, output: LabelOutput, y_BL: Tensor) -> Tensor:
        """The sum over the known labels."""
        y_BL, known_BL = split_unknown(y_BL)
        return torch.where(known_BL, self.per_label(output, y_BL), 0).sum(1)

    def where_all_known(self, output: LabelOutput, y_BL: Tensor) -> Tensor:
        """The sum over the labels."""
        return self.per_label(output, y_BL).sum(1)

    def mean(
        self, output: LabelOutput, y_BL: Tensor, weight_B: Tensor | None = None, *, all_known: bool = False
    ) -> Tensor:
        """The same mean, without the losses of examples where nobody asks for them: small steps are calls."""
        if all_known and weight_B is None:
            return self.per_label(output, y_BL).sum() / y_BL.shape[0]
        return super().mean(output, y_BL, weight_B, all_known=all_known)


class BatchLoss(Loss):
    """A loss of a whole batch that is no sum over its examples, such as one minus F1.

    Splitting a batch changes its value and gradient, so gradient accumulation and several processes do not
    reproduce a large batch, and its value on a split depends on the size of the evaluation batches.
    """

    couples_batch = True

    @abstractmethod
    def of_batch(self, output: LabelOutput, y_BL: Tensor, weight_B: Tensor) -> Tensor:
        """The loss, a scalar, of a batch in which each row stands as often as its weight says."""

    def forward(
        self, output: LabelOutput, y_BL: Tensor, weight_B: Tensor | None = None, *, all_known: bool = False
    ) -> Tensor:
        """B copies of the batch's loss: their mean is that loss, and sums over batches weigh by rows."""
        if weight_B is None:
            weight_B = y_BL.new_ones(len(y_BL))
        return self.of_batch(output, y_BL, weight_B).expand(len(y_BL))
