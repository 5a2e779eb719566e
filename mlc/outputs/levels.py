"""Label levels: how much of each label there is, one categorical distribution per label."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mlc.batch import split_unknown
from mlc.outputs.base import LabelOutput, register_pytree
from mlc.outputs.independent import IndependentLabels


@register_pytree
@dataclass(frozen=True, eq=False)
class LabelLevels(LabelOutput):
    """P(levels | x) = Π_l softmax(z_l)_{y_l}, with levels 0..K-1 of each label; level 0 means "not there".

    Only `log_prob`, `levels` and `expected_levels` speak of levels. Everything else speaks of the set of
    labels that are there, which is a set of independent labels: `presence()`.

    Args:
        logits_BLK: raw tensors z, K >= 2.
    """

    logits_BLK: Tensor

    def presence(self) -> IndependentLabels:
        """Which labels are there, at any level; its log_prob takes 0 and 1."""
        return IndependentLabels(self.score_logits())

    def score_logits(self) -> Tensor:
        """log P(level >= 1) - log P(level 0): the log-odds of the marginals."""
        return self.logits_BLK[:, :, 1:].logsumexp(2) - self.logits_BLK[:, :, 0]

    def scores(self) -> Tensor:
        """The marginals."""
        return self.marginals()

    def marginals(self) -> Tensor:
        """P(level >= 1)."""
        return self.presence().marginals()

    def marginals_by_count(self) -> Tensor:
        """B×L×(L+1) probabilities P(label l is there, s labels are there | x), s = 0..L."""
        return self.presence().marginals_by_count()

    def cardinality(self) -> Tensor:
        """Poisson-binomial distribution of the marginals: how many labels are there."""
        return self.presence().cardinality()

    def expected_count(self) -> Tensor:
        """Σ_l P(level >= 1)."""
        return self.presence().expected_count()

    def log_prob(self, y_BL: Tensor) -> Tensor:
        """Σ_l log softmax(z_l)_{y_l} over the known labels; -inf where a level is above K - 1.

        Args:
            y_BL: levels 0, 1, 2, ..., not presence; NaN where unknown.
        """
        level_BL, known_BL = split_unknown(y_BL)
        highest = self.logits_BLK.shape[2] - 1
        index_BL1 = level_BL.long().clamp(max=highest)[:, :, None]
        log_p_BL = self.logits_BLK.log_softmax(2).gather(2, index_BL1).squeeze(2)
        log_p_BL = torch.where(level_BL <= highest, log_p_BL, -torch.inf)
        return torch.where(known_BL, log_p_BL, 0.0).sum(1)

    def mode(self) -> Tensor:
        """Every label that is more likely there than not, whatever its level."""
        return self.presence().mode()

    def levels(self) -> Tensor:
        """B×L int64 most probable levels (the lowest of several).

        A label that `mode()` contains can have level 0 here: 0 may beat each other level, but not their sum.
        """
        return self.logits_BLK.argmax(2)

    def expected_levels(self) -> Tensor:
        """B×L expected levels Σ_k k P(level k)."""
        k_K = torch.arange(self.logits_BLK.shape[2], device=self.logits_BLK.device)
        return self.logits_BLK.softmax(2) @ k_K.to(self.logits_BLK.dtype)
