"""Levels head: which of K levels each label has."""

import math
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from mlc.batch import BatchInput, LabelStatistics
from mlc.heads.base import Head
from mlc.heads.priors import log_odds_of_frequency
from mlc.outputs.levels import LabelLevels


class LevelsHead(Head):
    """One categorical distribution over 0..K-1 per label (S18); K comes from the training data.

    Args:
        in_features: D.
        labels: training label statistics.
        prior_bias: start level 0 at the share of training rows without the label; the other levels share
            the rest equally.
    """

    sparse_layers: ClassVar[tuple[str, ...]] = ("logits",)

    def __init__(self, *, in_features: int, labels: LabelStatistics, prior_bias: bool):
        super().__init__()
        self.levels = labels.levels
        self.logits = nn.Linear(in_features, labels.n_labels * self.levels)
        if prior_bias:
            # Σ exp of the K-1 equal logits is to be the odds of the label.
            each_L1 = (log_odds_of_frequency(labels) - math.log(self.levels - 1))[:, None]
            with torch.no_grad():
                self.logits.bias.copy_(F.pad(each_L1.expand(-1, self.levels - 1), (1, 0)).flatten())

    def forward(self, features_BD: BatchInput) -> LabelLevels:
        """Logits of every level of every label."""
        return LabelLevels(self.logits(features_BD).unflatten(1, (-1, self.levels)))
