"""Softmax head: the labels compete for one unit of probability."""

from typing import ClassVar, Literal

import torch
from torch import nn

from mlc.batch import BatchInput, LabelStatistics
from mlc.heads.base import Head
from mlc.heads.priors import log_share_of_labels
from mlc.outputs.shares import LabelShares
from mlc.outputs.single_choice import SingleChoice


class SoftmaxHead(Head):
    """Softmax over the labels: a choice among them (S1) or the shares they have (S2).

    Args:
        in_features: D.
        labels: training label statistics.
        reading: "single_choice", "label_shares", or "auto": single choice if and only if every training row
            has exactly one label.
        prior_bias: start the biases at the training frequencies.
    """

    sparse_layers: ClassVar[tuple[str, ...]] = ("logits",)

    def __init__(
        self,
        *,
        in_features: int,
        labels: LabelStatistics,
        reading: Literal["auto", "single_choice", "label_shares"],
        prior_bias: bool,
    ):
        super().__init__()
        self.logits = nn.Linear(in_features, labels.n_labels)
        self.single_choice = reading == "single_choice" or (reading == "auto" and labels.single_label)
        if prior_bias:
            with torch.no_grad():
                self.logits.bias.copy_(log_share_of_labels(labels))

    def forward(self, features_BD: BatchInput) -> SingleChoice | LabelShares:
        """Logits, read as one choice or as shares."""
        logits_BL = self.logits(features_BD)
        return SingleChoice(logits_BL) if self.single_choice else LabelShares(logits_BL)
