"""The label set that a chain of labels decides, one label after the other."""

from torch import Tensor

from mlc.decisions.base import Decision
from mlc.errors import UserError
from mlc.outputs.base import LabelOutput
from mlc.outputs.chain import LabelChain


class GreedySet(Decision):
    """Every label that is more likely than not given those decided before it, in the order of the chain.

    Nothing is fitted; the model's own, under any calibration. The set need not be the most probable one,
    which would take a search of all sets.

    Source: Read, Pfahringer, Holmes & Frank (2011), "Classifier chains for multi-label classification",
        section 3.
    """

    def check(self, output: LabelOutput) -> None:
        """Raise UserError for a model that is no chain."""
        if not isinstance(output.model, LabelChain):
            raise UserError(
                f"decision=greedy follows a chain of labels, and {type(output.model).__name__} is none: "
                f"use head=classifier_chain, or decision=auto for the rule that fits this model"
            )

    def fit(self, output: LabelOutput, y_NL: Tensor, weight_N: Tensor | None = None) -> None:
        """Nothing to fit."""

    def forward(self, output: LabelOutput) -> Tensor:
        """B×L booleans."""
        assert isinstance(output.model, LabelChain), "check() comes first"
        return output.model.greedy()

    def thresholds(self) -> None:
        """None: what decides a label depends on the labels before it."""
