"""Categorical cross-entropy on sigmoids: the classic mistake, kept to be looked at."""

from typing import cast

from torch import Tensor
from torch.nn import functional as F

from mlc.losses.base import LabelLoss
from mlc.outputs.base import LabelOutput
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.scores_only import ScoresOnly


class CategoricalOnSigmoid(LabelLoss):
    """-Σ_l y_l log σ(z_l), from logits (S4).

    What a softmax's loss does to sigmoids: a false label never reaches it, and nothing else holds the scores
    down, so its optimum is σ(z) = 1 for every label. Whatever ranking it leaves comes from which label rose
    fastest. Scores only.
    """

    accepts = (IndependentLabels,)
    sums_over_labels = (IndependentLabels,)
    ignores_empty_rows = True
    warning = (
        "this loss is the classic mistake, kept for teaching: false labels never reach it, so every score "
        "rises without end; loss=binary_cross_entropy is what was meant."
    )

    def per_label(self, output: LabelOutput, y_BL: Tensor) -> Tensor:
        """B×L losses in nats."""
        return -y_BL * F.logsigmoid(cast(IndependentLabels, output).logits_BL)

    def link(self, output: LabelOutput) -> LabelOutput:
        """Scores σ(z)."""
        return ScoresOnly(output.score_logits(), output.scores())
