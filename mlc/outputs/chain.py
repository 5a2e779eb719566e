"""Label chain: each label may depend on the labels before it."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from mlc.batch import split_unknown
from mlc.outputs.base import SHARED, LabelOutput, not_defined, register_pytree

# Labels that are walked one by one before what they say reaches the labels after them in one product.
_BLOCK = 32


@register_pytree
@dataclass(frozen=True, eq=False)
class LabelChain(LabelOutput):
    """P(y | x) = Π_l Bernoulli(y_l; σ(z_l + Σ_{j<l} a_lj y_j)), labels in their own order.

    The probability of a given set is exact and cheap, because every label is then told the true labels
    before it (teacher forcing). Sums over all sets are not tractable: marginals, counts and the most probable
    set are not defined. What decides and ranks is the greedy path, on which each label is told the decisions
    before it.

    Args:
        logits_BL: z.
        links_LL: a, what label j (column) says to label l (row); only the part below the diagonal counts.
            Shared by all rows.

    Source: Read, Pfahringer, Holmes & Frank (2011), "Classifier chains for multi-label classification",
        section 3, for the greedy path; Dembczyński, Cheng & Hüllermeier (2010), "Bayes optimal multilabel
        classification via probabilistic classifier chains", for the product of conditionals.
    Differs: the labels before enter linearly and beside the features, as one logistic regression does it.
    """

    logits_BL: Tensor
    links_LL: Tensor = field(metadata=SHARED)

    def score_logits(self) -> Tensor:
        """Log-odds of each label given the greedy decisions before it."""
        return self._walk(_decide)[0]

    def scores(self) -> Tensor:
        """Probability of each label given the greedy decisions before it; no marginals."""
        return torch.sigmoid(self.score_logits())

    def greedy(self) -> Tensor:
        """B×L booleans: label by label, whether it is more likely than not given the decisions before it."""
        return self.score_logits() > 0

    def log_prob(self, y_BL: Tensor) -> Tensor:
        """Σ_l log P(y_l | y_1..y_l-1).

        Unknown labels cannot be summed out. Instead, an unknown label leaves out its own term, and tells the
        labels after it its conditional probability given what it was told itself. Where labels are unknown
        the labels are walked one after the other, else this is one matrix product.
        """
        y_BL, known_BL = split_unknown(y_BL.to(self.logits_BL.dtype))

        def known_or_expected(label: int, logit_B1: Tensor) -> Tensor:
            here = slice(label, label + 1)
            return torch.where(known_BL[:, here], y_BL[:, here], torch.sigmoid(logit_B1))

        told_BL = y_BL if bool(known_BL.all()) else self._walk(known_or_expected)[1]
        logits_BL = self.logits_BL + told_BL @ self._links().T
        nll_BL = F.binary_cross_entropy_with_logits(logits_BL, y_BL, reduction="none")
        return -torch.where(known_BL, nll_BL, 0.0).sum(1)

    def marginals(self) -> Tensor:
        """Not defined."""
        not_defined(
            self,
            "marginals",
            "its scores follow one greedy path, and the sum over all paths is not tractable; calibrate on "
            "validation data (calibration=platt)",
        )

    def cardinality(self) -> Tensor:
        """Not defined."""
        not_defined(self, "cardinality", "it needs a sum over all label sets; use decision=greedy")

    def expected_count(self) -> Tensor:
        """Not defined."""
        not_defined(self, "expected count", "it needs a sum over all label sets; use decision=greedy")

    def mode(self) -> Tensor:
        """Not defined."""
        not_defined(self, "most probable set", "it needs a search of all label sets; use decision=greedy")

    def _links(self) -> Tensor:
        return self.links_LL.tril(-1).to(self.logits_BL.dtype)

    def _walk(self, tell: Callable[[int, Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Go through the labels in order.

        Args:
            tell: from a label and its B×1 conditional logits to the B×1 values that later labels are told.

        Returns:
            The conditional logits and the values told, both B×L.
        """
        links_LL = self._links()
        logits, told = [self.logits_BL[:, :0]], [self.logits_BL[:, :0]]
        for start in range(0, len(links_LL), _BLOCK):
            block = slice(start, start + _BLOCK)
            rest = self.logits_BL[:, block] + torch.cat(told, dim=1) @ links_LL[block, :start].T
            inner_LL = links_LL[block, block]
            for offset in range(len(inner_LL)):
                logits.append(rest[:, :1])
                told.append(tell(start + offset, rest[:, :1]))
                rest = rest[:, 1:] + told[-1] * inner_LL[offset + 1 :, offset]
        return torch.cat(logits, dim=1), torch.cat(told, dim=1)


def _decide(label: int, logit_B1: Tensor) -> Tensor:
    return (logit_B1 > 0).to(logit_B1.dtype)
