"""Classifier chain head: each label sees the labels before it."""

from typing import ClassVar

import torch
from torch import nn

from mlc.batch import BatchInput, LabelStatistics
from mlc.heads.base import Head
from mlc.heads.priors import log_odds_of_frequency
from mlc.outputs.chain import LabelChain


class ClassifierChainHead(Head):
    """P(y) = Π_l P(y_l | x, y_1..y_{l-1}), logistic in the features and the labels before, in data order.

    The likelihood of the targets is training with the true labels as inputs (teacher forcing).

    Args:
        in_features: D.
        labels: training label statistics.
        prior_bias: start the biases at the training frequencies.

    Source: Read, Pfahringer, Holmes & Frank, "Classifier chains for multi-label classification" (2011);
        Dembczyński, Cheng & Hüllermeier (2010) for the chain as a distribution.
    Differs: one linear link per pair of labels on features that all labels share and that are trained with
        it; one chain in the order of the data, no ensemble of orders.
    """

    sparse_layers: ClassVar[tuple[str, ...]] = ("logits",)

    def __init__(self, *, in_features: int, labels: LabelStatistics, prior_bias: bool):
        super().__init__()
        self.logits = nn.Linear(in_features, labels.n_labels)
        # Row l: what the labels before l say to it. Zero: at first the labels are independent.
        self.links_LL = nn.Parameter(torch.zeros(labels.n_labels, labels.n_labels))
        if prior_bias:
            with torch.no_grad():
                self.logits.bias.copy_(log_odds_of_frequency(labels))

    def forward(self, features_BD: BatchInput) -> LabelChain:
        """Logits without what the labels before say, and the links that say it."""
        return LabelChain(self.logits(features_BD), self.links_LL)
