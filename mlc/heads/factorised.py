"""Factorised head: how many labels, times how they share that number."""

import math
from typing import Annotated, Literal

import torch
from annotated_types import Gt
from torch import Tensor, nn

from mlc.batch import LabelStatistics
from mlc.heads.base import Head
from mlc.heads.priors import log_share_of_labels
from mlc.outputs.counts import CountModel, PointCount, PoissonCount
from mlc.outputs.factorised import FactorisedCount


class FactorisedHead(Head):
    """Expected labels F = Z · softmax(logits), with the count Z predicted beside the shares (S10, S12).

    Args:
        in_features: D.
        labels: training label statistics.
        count: "linear" for Z = max(count_floor, linear), a point; "poisson" for log λ = linear.
        count_floor: the smallest Z of the linear count.
        prior_bias: start the share biases at the training frequencies.

    The count's bias starts at the training mean: below the floor the linear count has no gradient, and a
    head that starts there never learns to count. Large steps can still push every row below it, above all
    under a loss on the product (S11): then lower the learning rate, or use the Poisson count.
    """

    def __init__(
        self,
        *,
        in_features: int,
        labels: LabelStatistics,
        count: Literal["linear", "poisson"],
        count_floor: Annotated[float, Gt(0)],
        prior_bias: bool,
    ):
        super().__init__()
        self.shares = nn.Linear(in_features, labels.n_labels)
        self.count = nn.Linear(in_features, 1)
        self.poisson = count == "poisson"
        self.count_floor = count_floor
        mean_count = max(labels.mean_count, count_floor)
        with torch.no_grad():
            self.count.bias.fill_(math.log(mean_count) if self.poisson else mean_count)
            if prior_bias:
                self.shares.bias.copy_(log_share_of_labels(labels))

    def forward(self, features_BD: Tensor) -> FactorisedCount:
        """Shares and count of every example."""
        raw_count_B = self.count(features_BD).squeeze(1)
        count: CountModel
        if self.poisson:
            count = PoissonCount(raw_count_B)
        else:
            count = PointCount(raw_count_B.clamp(min=self.count_floor))
        return FactorisedCount(self.shares(features_BD), count)
