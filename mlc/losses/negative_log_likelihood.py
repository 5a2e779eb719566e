"""Negative log-likelihood: the loss of every output that is a distribution over label sets."""

import torch
from torch import Tensor

from mlc.batch import LabelStatistics
from mlc.losses.base import ExampleLoss, PairingError
from mlc.outputs.base import LabelOutput
from mlc.outputs.chain import LabelChain
from mlc.outputs.conditional_bernoulli import ConditionalBernoulli
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.label_sets import LabelSets
from mlc.outputs.levels import LabelLevels
from mlc.outputs.single_choice import SingleChoice


class NegativeLogLikelihood(ExampleLoss):
    """-log P(y | x) in nats, exact (S1, S3, S14); of the levels themselves where the head has levels.

    Unknown labels are summed out by the output model: the likelihood is that of what is known.

    What the model rules out (more labels than its largest count; none or several under SingleChoice; a label
    set or a level that no training row has) counts 0 and carries no gradient. No training row without unknown
    labels is ruled out: counts and label sets are those of such rows, and `check` refuses SingleChoice where
    a training row has not exactly one label. On other splits the loss so stays finite and comparable from
    epoch to epoch, and the metric `nll` says that the model gave such a row no probability.

    Args:
        labels: training label statistics.
    """

    accepts = (IndependentLabels, SingleChoice, ConditionalBernoulli, LabelLevels, LabelSets, LabelChain)
    accepts_levels = (LabelLevels,)
    sums_over_labels = (IndependentLabels,)

    def __init__(self, *, labels: LabelStatistics):
        super().__init__()
        self.single_label = labels.single_label

    def check(self, output: LabelOutput) -> None:
        """Also refuse SingleChoice where some training row has none, several or unknown labels."""
        super().check(output)
        if isinstance(output, SingleChoice) and not self.single_label:
            raise PairingError(
                "SingleChoice gives no probability to the training rows that have none or several labels"
            )

    def per_example(self, output: LabelOutput, y_BL: Tensor) -> Tensor:
        """B losses in nats."""
        log_prob_B = output.log_prob(y_BL)
        return -torch.where(log_prob_B == -torch.inf, 0, log_prob_B)

    def link(self, output: LabelOutput) -> LabelOutput:
        """The output itself: the likelihood is a proper loss."""
        return output
