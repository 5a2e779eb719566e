"""What every decision rule does: turn an output into a set of labels."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from mlc.outputs.base import LabelOutput


class Decision(nn.Module, ABC):
    """A rule from an output to a boolean set per example; what it fits is kept in buffers.

    Args:
        n_labels: number of labels L.
    """

    def __init__(self, *, n_labels: int):
        super().__init__()
        self.n_labels = n_labels

    @abstractmethod
    def check(self, output: LabelOutput) -> None:
        """Raise UserError, naming the rules that fit, if this output lacks what the rule needs."""

    @abstractmethod
    def fit(self, output: LabelOutput, y_NL: Tensor, weight_N: Tensor | None = None) -> None:
        """Fit on validation data; nothing to do where nothing is fitted.

        Args:
            output: N outputs, calibrated as they will be where the rule decides.
            y_NL: N×L targets: 0, 1 or NaN where unknown, which counts as if the entry did not exist.
            weight_N: weights of the rows, None where all are 1; a row of weight k counts as k such rows.
        """

    @abstractmethod
    def forward(self, output: LabelOutput) -> Tensor:
        """B×L booleans: the decided labels."""

    @abstractmethod
    def thresholds(self) -> Tensor | None:
        """L thresholds on the output's `scores()`, or None for a rule that has none."""
