"""Sigmoid head: one logit per label."""

from typing import ClassVar

import torch
from torch import nn

from mlc.batch import BatchInput, LabelStatistics
from mlc.heads.base import Head
from mlc.heads.priors import log_odds_of_frequency
from mlc.outputs.independent import IndependentLabels


class SigmoidHead(Head):
    """One independent Bernoulli per label (S3).

    Args:
        in_features: D.
        labels: training label statistics.
        prior_bias: start the biases at the training frequencies, so that rare labels do not begin at ½.
    """

    sparse_layers: ClassVar[tuple[str, ...]] = ("logits",)

    def __init__(self, *, in_features: int, labels: LabelStatistics, prior_bias: bool):
        super().__init__()
        self.logits = nn.Linear(in_features, labels.n_labels)
        if prior_bias:
            with torch.no_grad():
                self.logits.bias.copy_(log_odds_of_frequency(labels))

    def forward(self, features_BD: BatchInput) -> IndependentLabels:
        """Logits of every label."""
        return IndependentLabels(self.logits(features_BD))
