"""Conditional Bernoulli head: how many labels, and weights that decide which labels make up that number."""

from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge
from torch import nn

from mlc.batch import BatchInput, LabelStatistics
from mlc.errors import UserError
from mlc.heads.base import Head
from mlc.heads.counts import count_reading
from mlc.heads.priors import log_odds_of_frequency
from mlc.outputs.conditional_bernoulli import ConditionalBernoulli
from mlc.outputs.counts import CategoricalCount

_LEAST_MEAN = 0.01  # where the mean starts if no training row has a label: its logarithm must be finite


class ConditionalBernoulliHead(Head):
    """The normalised form of the factorised head: P(n) times the choice of n labels by their weights (S14).

    Args:
        in_features: D.
        labels: training label statistics.
        count: the distribution of n on 0..K, see `count_reading`; the first two are renormalised there.
        max_count: K, the largest count that is possible; "auto" for the largest in training. Above L it is
            L. Time and memory are in proportion to L·K.
        prior_bias: start the weights at the odds of the training frequencies.

    Raises:
        UserError: max_count is below the number of labels of some training row.
    """

    sparse_layers: ClassVar[tuple[str, ...]] = ("weights", "count")

    def __init__(
        self,
        *,
        in_features: int,
        labels: LabelStatistics,
        count: Literal["poisson", "negative_binomial", "categorical"],
        max_count: Annotated[int, Ge(1)] | Literal["auto"],
        prior_bias: bool,
    ):
        super().__init__()
        if max_count != "auto" and max_count < labels.max_count:
            raise UserError(
                f"head.max_count={max_count} is less than the {labels.max_count} labels that a training row "
                f"has: set it to at least {labels.max_count}, or to auto"
            )
        self.max_count = max(1, labels.max_count) if max_count == "auto" else min(max_count, labels.n_labels)
        reading = count_reading(count, labels=labels, floor=_LEAST_MEAN, max_count=self.max_count)
        self.weights = nn.Linear(in_features, labels.n_labels)
        self.count = reading.layer(in_features)
        self.read_count = reading.read
        if prior_bias:
            with torch.no_grad():
                self.weights.bias.copy_(log_odds_of_frequency(labels))

    def forward(self, features_BD: BatchInput) -> ConditionalBernoulli:
        """Weights and count of every example."""
        # In float32 also under autocast: bfloat16 cannot tell counts above 256 apart.
        count = self.read_count(self.count(features_BD).float())
        # Log probabilities are logits: cut at K, every count distribution is a categorical one.
        count = CategoricalCount(count.log_pmf(self.max_count))
        return ConditionalBernoulli(self.weights(features_BD), count)
