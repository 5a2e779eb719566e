"""What every calibrator does: make marginals that can be believed, from validation data."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from mlc.outputs.base import LabelOutput


class Calibrator(nn.Module, ABC):
    """A map from an output to an output with calibrated marginals; what it fits is kept in buffers."""

    @abstractmethod
    def check(self, output: LabelOutput) -> None:
        """Raise UserError, naming the calibrators that fit, if this output cannot be calibrated so."""

    @abstractmethod
    def fit(self, output: LabelOutput, y_NL: Tensor) -> None:
        """Fit on validation outputs and targets (N×L, 0 or 1)."""

    @abstractmethod
    def forward(self, output: LabelOutput) -> LabelOutput:
        """The calibrated output."""
