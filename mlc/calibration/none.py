"""No calibration: the output as it is."""

from torch import Tensor

from mlc.calibration.base import Calibrator
from mlc.outputs.base import LabelOutput


class NoCalibration(Calibrator):
    """The identity, for those who want the model's own word."""

    def check(self, output: LabelOutput) -> None:
        """Every output fits."""

    def fit(self, output: LabelOutput, y_NL: Tensor, weight_N: Tensor | None = None) -> None:
        """Nothing to fit."""

    def forward(self, output: LabelOutput) -> LabelOutput:
        """The output itself."""
        return output
