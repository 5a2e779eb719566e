"""The same number of labels for every example."""

from typing import Annotated

from annotated_types import Ge
from torch import Tensor

from mlc.decisions.base import Decision
from mlc.decisions.ranking import highest
from mlc.errors import UserError
from mlc.outputs.base import LabelOutput


class TopK(Decision):
    """The k labels with the highest scores; of equal scores the first label wins.

    Args:
        n_labels: number of labels L.
        k: how many, at most L.
    """

    def __init__(self, *, n_labels: int, k: Annotated[int, Ge(1)]):
        super().__init__(n_labels=n_labels)
        self.k = k

    def check(self, output: LabelOutput) -> None:
        """Raise UserError if there are fewer than k labels."""
        if self.k > output.n_labels:
            raise UserError(
                f"decision.k={self.k} asks for more labels than the {output.n_labels} there are: "
                f"set decision.k to at most {output.n_labels}"
            )

    def fit(self, output: LabelOutput, y_NL: Tensor, weight_N: Tensor | None = None) -> None:
        """Nothing to fit."""

    def forward(self, output: LabelOutput) -> Tensor:
        """B×L booleans, k of them true in every row."""
        scores_BL = output.score_logits()
        return highest(scores_BL, scores_BL.new_full((len(scores_BL),), self.k))

    def thresholds(self) -> None:
        """None: the rule ranks."""
