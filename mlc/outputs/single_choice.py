"""Single choice: softmax where exactly one label is true."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mlc.batch import split_unknown
from mlc.outputs.base import LabelOutput, register_pytree
from mlc.outputs.log_odds import softmax_log_odds
from mlc.outputs.log_sums import log_sum_where


@register_pytree
@dataclass(frozen=True, eq=False)
class SingleChoice(LabelOutput):
    """P({l} | x) = softmax(z)_l; every other set has probability 0.

    Args:
        logits_BL: raw tensors z.
    """

    logits_BL: Tensor

    def score_logits(self) -> Tensor:
        """The log-odds of the marginals, so that scores compare across examples as well."""
        return softmax_log_odds(self.logits_BL)

    def scores(self) -> Tensor:
        """The marginals."""
        return F.softmax(self.logits_BL, dim=1)

    def marginals(self) -> Tensor:
        """softmax(z)."""
        return F.softmax(self.logits_BL, dim=1)

    def cardinality(self) -> Tensor:
        """All mass on one label."""
        pmf_BK = self.logits_BL.new_zeros(len(self.logits_BL), self.logits_BL.shape[1] + 1)
        pmf_BK[:, 1] = 1
        return pmf_BK

    def expected_count(self) -> Tensor:
        """1 for every example."""
        return self.logits_BL.new_ones(len(self.logits_BL))

    def log_prob(self, y_BL: Tensor) -> Tensor:
        """log softmax(z) of the one label; -inf where y has none or several.

        Where no known label is true, it is the log of the sum over the unknown labels.
        """
        y_BL, known_BL = split_unknown(y_BL)
        true_BL = y_BL > 0
        n_B1 = true_BL.sum(1, keepdim=True)
        possible_BL = torch.where(n_B1 == 0, ~known_BL, true_BL & (n_B1 == 1))
        return log_sum_where(possible_BL, F.log_softmax(self.logits_BL, dim=1))

    def mode(self) -> Tensor:
        """The label with the largest logit (the first of several)."""
        chosen_B = self.logits_BL.argmax(1)
        return F.one_hot(chosen_B, self.logits_BL.shape[1]).bool()
