"""Thresholds that maximise F1 on validation data, found exactly."""

import torch
from torch import Tensor

from mlc.decisions.cuts import best_f1_cuts, counted, without_positives
from mlc.decisions.threshold_rule import ThresholdRule
from mlc.outputs.base import LabelOutput


class GlobalThreshold(ThresholdRule):
    """One threshold for all labels, which maximises micro-F1 on validation data; see `best_f1_cuts`.

    Args:
        n_labels: number of labels L.
    """

    def __init__(self, *, n_labels: int):
        super().__init__(n_labels=n_labels, threshold=0.5)

    def check(self, output: LabelOutput) -> None:
        """Every output has scores, so every output fits."""

    @torch.no_grad()
    def fit(self, output: LabelOutput, y_NL: Tensor, weight_N: Tensor | None = None) -> None:
        """Sweep all cuts of all scores together."""
        values = (output.scores(), y_NL, counted(y_NL, weight_N))
        threshold_1, _ = best_f1_cuts(*(values_NL.reshape(-1, 1) for values_NL in values))
        self.threshold_L.copy_(threshold_1)


class PerLabelThreshold(ThresholdRule):
    """A threshold per label, which maximises that label's F1, hence macro-F1, on validation data.

    A label without positives in the validation data gets its highest validation score as threshold: it is
    decided only where it scores above everything that was seen to be negative; and a label that is known
    nowhere is never decided. `fallback_L` says which labels have no positives.

    Args:
        n_labels: number of labels L.

    Source: Yang (2001), "A study of thresholding strategies for text categorization": SCut, and for labels
        without positives SCutFBR.1.
    """

    def __init__(self, *, n_labels: int):
        super().__init__(n_labels=n_labels, threshold=0.5)
        self.register_buffer("fallback_L", torch.zeros(n_labels, dtype=torch.bool))
        self.fallback_L: Tensor

    def check(self, output: LabelOutput) -> None:
        """Every output has scores, so every output fits."""

    @torch.no_grad()
    def fit(self, output: LabelOutput, y_NL: Tensor, weight_N: Tensor | None = None) -> None:
        """Sweep all cuts of each label's scores."""
        count_NL = counted(y_NL, weight_N)
        threshold_L, _ = best_f1_cuts(output.scores(), y_NL, count_NL)
        self.threshold_L.copy_(threshold_L)
        self.fallback_L.copy_(without_positives(y_NL, count_NL))
