"""What calibrators of many parameters share: a label with too few examples takes Platt's sigmoid."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from mlc.calibration.base import Calibrator
from mlc.calibration.examples import Cells, cell_weights, is_rare
from mlc.calibration.platt import Platt
from mlc.outputs.base import LabelOutput
from mlc.outputs.calibrated import CalibratedLabels


class PlattFallback(Calibrator, ABC):
    """A calibration per label; rare labels take Platt's instead.

    Rare is a label with fewer than MIN_EXAMPLES positives or negatives; `fallback_L` says which these are.
    Before `fit`, all do, and Platt passes logits on as they are.

    Args:
        n_labels: number of labels L.
    """

    def __init__(self, *, n_labels: int):
        super().__init__(n_labels=n_labels)
        self.platt = Platt(n_labels=n_labels)
        self.register_buffer("fallback_L", torch.ones(n_labels, dtype=torch.bool))
        self.fallback_L: Tensor

    @torch.no_grad()
    def fit(self, output: LabelOutput, y_NL: Tensor, weight_N: Tensor | None = None) -> None:
        """Fit every label, and Platt beside it."""
        self.platt.fit(output, y_NL, weight_N)
        cells = Cells(output.score_logits(), *cell_weights(y_NL, weight_N))
        self.fallback_L.copy_(is_rare(cells.y_NL, cells.weight_NL))
        self.fit_labels(cells)

    def forward(self, output: LabelOutput) -> CalibratedLabels:
        """Calibrated marginals over the output."""
        logits_BL = self.logits(output.score_logits())
        platt_BL = self.platt(output).logits_BL
        return CalibratedLabels(torch.where(self.fallback_L, platt_BL, logits_BL), base=output)

    @abstractmethod
    def fit_labels(self, cells: Cells) -> None:
        """Fit every label; what becomes of the labels that fall back is not used."""

    @abstractmethod
    def logits(self, s_BL: Tensor) -> Tensor:
        """B×L finite calibrated logits of score logits; not used for labels that fall back."""
