"""What every calibrator does: make marginals that can be believed, from validation data."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from mlc.outputs.base import LabelOutput


class Calibrator(nn.Module, ABC):
    """A map from an output to an output with calibrated marginals; what it fits is kept in buffers.

    Before `fit` it reads the scores as they are: a logit stays that logit.

    Args:
        n_labels: number of labels L.
    """

    def __init__(self, *, n_labels: int):
        super().__init__()
        self.n_labels = n_labels

    @abstractmethod
    def check(self, output: LabelOutput) -> None:
        """Raise UserError, naming the calibrators that fit, if this output cannot be calibrated so."""

    @abstractmethod
    def fit(self, output: LabelOutput, y_NL: Tensor, weight_N: Tensor | None = None) -> None:
        """Fit on validation data.

        Args:
            output: of N rows.
            y_NL: targets, 0 or 1; NaN where unknown, which counts as if the entry did not exist.
            weight_N: a row of weight k counts as k equal rows; None where all are 1.
        """

    @abstractmethod
    def forward(self, output: LabelOutput) -> LabelOutput:
        """The calibrated output."""
