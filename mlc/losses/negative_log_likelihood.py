"""Negative log-likelihood: the loss of every output that is a distribution over label sets."""

import torch
from torch import Tensor

from mlc.batch import LabelStatistics
from mlc.losses.base import Loss, PairingError
from mlc.outputs.base import LabelOutput
from mlc.outputs.conditional_bernoulli import ConditionalBernoulli
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.single_choice import SingleChoice


class NegativeLogLikelihood(Loss):
    """-log P(y | x) in nats, exact (S1, S3, S14).

    A label set that the model rules out (more labels than its largest count; none or several under
    SingleChoice) counts 0 and carries no gradient. No training row has one: a conditional Bernoulli counts
    as far as the training rows do, and `check` refuses SingleChoice where a training row has not exactly one
    label. On other splits the loss so stays finite and comparable from epoch to epoch, and the metric `nll`
    says that the model gave such a row no probability.

    Args:
        labels: training label statistics.
    """

    accepts = (IndependentLabels, SingleChoice, ConditionalBernoulli)

    def __init__(self, *, labels: LabelStatistics):
        super().__init__()
        self.single_label = labels.single_label

    def check(self, output: LabelOutput) -> None:
        """Also refuse SingleChoice where some training row has none or several labels."""
        super().check(output)
        if isinstance(output, SingleChoice) and not self.single_label:
            raise PairingError(
                "SingleChoice gives no probability to the training rows that have none or several labels"
            )

    def forward(self, output: LabelOutput, y_BL: Tensor) -> Tensor:
        """B losses in nats."""
        log_prob_B = output.log_prob(y_BL)
        return -torch.where(log_prob_B == -torch.inf, 0, log_prob_B)

    def link(self, output: LabelOutput) -> LabelOutput:
        """The output itself: the likelihood is a proper loss."""
        return output
