"""Factorised head: how many labels, times how they share that number."""

from typing import Annotated, ClassVar

import torch
from annotated_types import Gt
from torch import nn

from mlc.batch import BatchInput, LabelStatistics
from mlc.heads.base import Head
from mlc.heads.counts import CountKind, count_reading
from mlc.heads.priors import log_share_of_labels
from mlc.outputs.factorised import FactorisedCount


class FactorisedHead(Head):
    """Expected labels F = Z · softmax(logits), with the count Z predicted beside the shares (S10, S12, S14).

    Args:
        in_features: D.
        labels: training label statistics.
        count: "linear" for Z = max(count_floor, linear), a point; else the distribution of the count, see
            `count_reading`, and Z its mean. A categorical count goes to the largest in training.
        count_floor: the smallest Z of the linear count.
        prior_bias: start the share biases at the training frequencies.

    The count's bias starts at the training counts: below the floor the linear count has no gradient, and a
    head that starts there never learns to count. Large steps can still push every row below it, above all
    under a loss on the product (S11): then lower the learning rate, or use the Poisson count.
    """

    sparse_layers: ClassVar[tuple[str, ...]] = ("shares", "count")

    def __init__(
        self,
        *,
        in_features: int,
        labels: LabelStatistics,
        count: CountKind,
        count_floor: Annotated[float, Gt(0)],
        prior_bias: bool,
    ):
        super().__init__()
        reading = count_reading(count, labels=labels, floor=count_floor, max_count=max(1, labels.max_count))
        self.shares = nn.Linear(in_features, labels.n_labels)
        self.count = reading.layer(in_features)
        self.read_count = reading.read
        if prior_bias:
            with torch.no_grad():
                self.shares.bias.copy_(log_share_of_labels(labels))

    def forward(self, features_BD: BatchInput) -> FactorisedCount:
        """Shares and count of every example."""
        # In float32 also under autocast: bfloat16 cannot tell counts above 256 apart.
        return FactorisedCount(self.shares(features_BD), self.read_count(self.count(features_BD).float()))
