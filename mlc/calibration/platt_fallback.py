"""What calibrators of many parameters share: a label with too few examples takes Platt's sigmoid."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from mlc.calibration.base import Calibrator
from mlc.calibration.platt import Platt
from mlc.outputs.base import LabelOutput
from mlc.outputs.calibrated import CalibratedLabels

MIN_EXAMPLES = 10  # positives, and negatives, of a label on validation data


class PlattFallback(Calibrator, ABC):
    """A calibration per label; labels with under MIN_EXAMPLES positives or negatives take Platt's instead.

    `fallback_L` says which labels these are. Before `fit`, all do, and Platt passes logits on as they are.

    Args:
        n_labels: number of labels L.
    """

    def __init__(self, *, n_labels: int):
        super().__init__(n_labels=n_labels)
        self.platt = Platt(n_labels=n_labels)
        self.register_buffer("fallback_L", torch.ones(n_labels, dtype=torch.bool))
        self.fallback_L: Tensor

    @torch.no_grad()
    def fit(self, output: LabelOutput, y_NL: Tensor) -> None:
        """Fit every label, and Platt beside it."""
        self.platt.fit(output, y_NL)
        positives_L = y_NL.sum(0)
        self.fallback_L.copy_(torch.minimum(positives_L, len(y_NL) - positives_L) < MIN_EXAMPLES)
        self.fit_labels(output.score_logits(), y_NL)

    def forward(self, output: LabelOutput) -> CalibratedLabels:
        """Calibrated marginals over the output."""
        logits_BL = self.logits(output.score_logits())
        platt_BL = self.platt(output).logits_BL
        return CalibratedLabels(torch.where(self.fallback_L, platt_BL, logits_BL), base=output)

    @abstractmethod
    def fit_labels(self, s_NL: Tensor, y_NL: Tensor) -> None:
        """Fit on score logits and targets (0 or 1); what becomes of the labels that fall back is not used."""

    @abstractmethod
    def logits(self, s_BL: Tensor) -> Tensor:
        """B×L finite calibrated logits of score logits; not used for labels that fall back."""
