"""What rules with thresholds share: a label is decided where its score is above its threshold."""

from abc import ABC

import torch
from torch import Tensor

from mlc.decisions.base import Decision
from mlc.outputs.base import LabelOutput


class ThresholdRule(Decision, ABC):
    """Decided = scores() > threshold_L, strictly; where the model has marginals, these are its scores.

    Scores and thresholds are compared in float32, at fitting and after, so that a fitted rule decides its
    validation data exactly as it was fitted.

    Args:
        n_labels: number of labels L.
        threshold: the threshold of every label until `fit`.
    """

    def __init__(self, *, n_labels: int, threshold: float):
        super().__init__(n_labels=n_labels)
        self.register_buffer("threshold_L", torch.full((n_labels,), threshold))
        self.threshold_L: Tensor

    def forward(self, output: LabelOutput) -> Tensor:
        """B×L booleans."""
        return output.scores().float() > self.threshold_L

    def thresholds(self) -> Tensor:
        """L thresholds on `scores()`."""
        return self.threshold_L
