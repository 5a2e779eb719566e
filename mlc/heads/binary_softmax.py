"""Binary softmax head: two logits per label, absent and present."""

from typing import ClassVar

import torch
from torch import nn

from mlc.batch import BatchInput, LabelStatistics
from mlc.heads.base import Head
from mlc.heads.priors import log_odds_of_frequency
from mlc.outputs.independent import IndependentLabels


class BinarySoftmaxHead(Head):
    """One two-way softmax per label, all from the same features (S6).

    softmax(z₀, z₁)₁ = σ(z₁ − z₀), so the model is that of the sigmoid head with twice the parameters. What
    differs is training: a step of gradient descent moves z₁ − z₀ twice as far, and weight decay pulls half as
    hard on the difference.

    Args:
        in_features: D.
        labels: training label statistics.
        prior_bias: start the biases at the training frequencies.
    """

    sparse_layers: ClassVar[tuple[str, ...]] = ("logits",)

    def __init__(self, *, in_features: int, labels: LabelStatistics, prior_bias: bool):
        super().__init__()
        self.logits = nn.Linear(in_features, 2 * labels.n_labels)  # z₀ and z₁ of label 0, of label 1, ...
        if prior_bias:
            half_L = log_odds_of_frequency(labels) / 2
            with torch.no_grad():
                self.logits.bias.copy_(torch.stack((-half_L, half_L), dim=1).flatten())

    def forward(self, features_BD: BatchInput) -> IndependentLabels:
        """z₁ − z₀ of every label."""
        absent_BL, present_BL = self.logits(features_BD).unflatten(1, (-1, 2)).unbind(2)
        return IndependentLabels(present_BL - absent_BL)
