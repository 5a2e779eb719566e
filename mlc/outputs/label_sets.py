"""Label sets: one softmax over the label sets that were seen in training."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from mlc.batch import split_unknown
from mlc.outputs.base import SHARED, LabelOutput, register_pytree
from mlc.outputs.log_sums import log_sum_where

# Numbers of one block of rows × sets; bounds what evaluation holds beside the logits (float64: 128 MiB each).
_BLOCK = 1 << 24
# The smallest probability whose logarithm and its gradient are taken.
_FLOOR = 1e-300


@register_pytree
@dataclass(frozen=True, eq=False)
class LabelSets(LabelOutput):
    """P(S_m | x) = softmax(z)_m over M known sets (a label powerset).

    Sets that are not among the M are impossible: their probability is 0 and their log_prob -inf. Everything
    is exact. The sums over sets are matrix products with the sets, O(M·L) per row; those that need tensors
    beside the logits and as large are done in blocks of rows. Log-odds are summed in float64: float32 has no
    probabilities below 1e-45.

    Args:
        logits_BM: raw tensors z.
        sets_ML: booleans, the known sets, all different; shared by all rows.

    Source: Tsoumakas & Katakis (2007), "Multi-label classification: an overview", transformation PT3, for
        the powerset; the sums are those of any distribution given as a table.
    """

    logits_BM: Tensor
    sets_ML: Tensor = field(metadata=SHARED)

    def score_logits(self) -> Tensor:
        """The log-odds of the marginals; ±690 stands for anything beyond."""
        sets_ML = self.sets_ML.bool()

        def log_odds(logits_BM: Tensor) -> Tensor:
            p_BM = F.softmax(logits_BM.double(), dim=1)
            # Two sums, because 1 less the first would lose all digits of a label that is nearly certain.
            with_BL, without_BL = p_BM @ sets_ML.double(), p_BM @ (~sets_ML).double()
            return (with_BL.clamp(min=_FLOOR).log() - without_BL.clamp(min=_FLOOR).log()).to(logits_BM.dtype)

        return self._in_blocks(log_odds)

    def scores(self) -> Tensor:
        """The marginals."""
        return self.marginals()

    def marginals(self) -> Tensor:
        """The probability of the sets with each label."""
        # Rounding can lift the sum over all sets a little above 1.
        return (F.softmax(self.logits_BM, dim=1) @ self.sets_ML.to(self.logits_BM.dtype)).clamp(max=1)

    def marginals_by_count(self) -> Tensor:
        """B×L×(K+1) probabilities P(y_l = 1, Σy = s | x), s = 0..K, the size of the largest known set."""
        sets_ML, size_M = self.sets_ML.bool(), self._sizes()
        p_BM = F.softmax(self.logits_BM, dim=1)
        by_size = [size_M == size for size in range(int(size_M.max()) + 1)]
        return torch.stack([p_BM[:, is_M] @ sets_ML[is_M].to(p_BM.dtype) for is_M in by_size], dim=2)

    def cardinality(self) -> Tensor:
        """The probability of the sets of each size."""
        is_size_MK = F.one_hot(self._sizes())
        pmf_BK = F.softmax(self.logits_BM, dim=1) @ is_size_MK.to(self.logits_BM.dtype)
        return F.pad(pmf_BK, (0, self.sets_ML.shape[1] + 1 - pmf_BK.shape[1]))

    def expected_count(self) -> Tensor:
        """Σ_m |S_m| P(S_m)."""
        return F.softmax(self.logits_BM, dim=1) @ self._sizes().to(self.logits_BM.dtype)

    def log_prob(self, y_BL: Tensor) -> Tensor:
        """log of the sum of P(S_m) over the sets that agree with y where it is known; -inf if there is none.

        A set agrees when it differs from y in no known label. The number of labels in which they differ is
        Σ_l known_l (y_l + (1 - 2 y_l) S_l), which a matrix product gives exactly.
        """
        sets_LM = self.sets_ML.T.to(self.logits_BM.dtype)

        def log_prob(logits_BM: Tensor, y_BL: Tensor) -> Tensor:
            y_BL, known_BL = split_unknown(y_BL.to(logits_BM.dtype))
            differ_BM = y_BL.sum(1, keepdim=True) + torch.where(known_BL, 1 - 2 * y_BL, 0.0) @ sets_LM
            return log_sum_where(differ_BM < 0.5, F.log_softmax(logits_BM, dim=1))

        return self._in_blocks(log_prob, y_BL)

    def mode(self) -> Tensor:
        """The most probable set (the first of several)."""
        return self.sets_ML.bool()[self.logits_BM.argmax(1)]

    def _sizes(self) -> Tensor:
        return self.sets_ML.sum(1, dtype=torch.long)

    def _in_blocks(self, function: Callable[..., Tensor], *rows: Tensor) -> Tensor:
        """The function of the logits, and of further tensors with B rows, block by block."""
        step = max(1, _BLOCK // self.logits_BM.shape[1])
        blocks = zip(*(tensor.split(step) for tensor in (self.logits_BM, *rows)), strict=True)
        return torch.cat([function(*block) for block in blocks])
