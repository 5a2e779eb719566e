"""Categorical cross-entropy: softmax against y / n."""

from typing import cast

from torch import Tensor

from mlc.losses.base import Loss
from mlc.losses.shares import share_cross_entropy
from mlc.outputs.base import LabelOutput
from mlc.outputs.shares import LabelShares
from mlc.outputs.single_choice import SingleChoice


class CategoricalCrossEntropy(Loss):
    """-Σ_l (y_l / n) log softmax(z)_l, from logits (S1, S2).

    With one label per row it is the negative log-likelihood of SingleChoice. With several it is the
    cross-entropy of the row's shares, whose optimum is E[y_l / n | x, n > 0]: it says nothing about n. A
    row without labels carries no gradient.
    """

    accepts = (SingleChoice, LabelShares)
    ignores_empty_rows = True

    def forward(self, output: LabelOutput, y_BL: Tensor) -> Tensor:
        """B losses in nats."""
        return share_cross_entropy(cast(SingleChoice | LabelShares, output).logits_BL, y_BL)

    def link(self, output: LabelOutput) -> LabelOutput:
        """The output itself: its own reading is the optimum of this loss."""
        return output
