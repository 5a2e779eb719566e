"""Categorical cross-entropy: softmax against y / n."""

from typing import cast

from torch import Tensor

from mlc.batch import split_unknown
from mlc.losses.base import ExampleLoss
from mlc.losses.shares import share_cross_entropy
from mlc.outputs.base import LabelOutput
from mlc.outputs.shares import LabelShares
from mlc.outputs.single_choice import SingleChoice


class CategoricalCrossEntropy(ExampleLoss):
    """-Σ_l (y_l / n) log softmax(z)_l, from logits (S1, S2).

    With one label per row it is the negative log-likelihood of SingleChoice. With several it is the
    cross-entropy of the row's shares, whose optimum is E[y_l / n | x, n > 0]: it says nothing about n. A
    row without labels carries no gradient. Where some are unknown, n and the softmax are over the others.
    """

    accepts = (SingleChoice, LabelShares)
    ignores_empty_rows = True

    def per_example(self, output: LabelOutput, y_BL: Tensor) -> Tensor:
        """B losses in nats."""
        y_BL, known_BL = split_unknown(y_BL)
        return share_cross_entropy(cast(SingleChoice | LabelShares, output).logits_BL, y_BL, known_BL)

    def link(self, output: LabelOutput) -> LabelOutput:
        """The output itself: its own reading is the optimum of this loss."""
        return output
