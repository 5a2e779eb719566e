"""ZLPR: every true label above zero, every false one below, ranked against each other through zero."""

from typing import cast

import torch
from torch import Tensor

from mlc.losses.base import ExampleLoss
from mlc.outputs.base import LabelOutput
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.scores_only import ScoresOnly


class ZLPR(ExampleLoss):
    """log(1 + Σ_false exp z_l) + log(1 + Σ_true exp(-z_l)); a label is decided where z > 0.

    Scores only. It is level where

        2 z_l = log E[y_l / (1 + Σ_true exp(-z))] - log E[(1 - y_l) / (1 + Σ_false exp z)],

    a log-odds in which each label set counts less the harder it is: the optimum depends on the other labels,
    even when they are independent, and with one label alone it is logit(p). z = 0 stays the natural cut: a
    label that is certain lies on its side of it, whatever the others do.

    Source: Su, Zhu, Murtadha, Pan, Wen & Liu, 2022.
    """

    accepts = (IndependentLabels,)

    def per_example(self, output: LabelOutput, y_BL: Tensor) -> Tensor:
        """B losses."""
        logits_BL = cast(IndependentLabels, output).logits_BL
        # An unknown label is NaN: neither true nor false.
        true_BL, false_BL = y_BL > 0.5, y_BL <= 0.5
        return _log1p_sum_exp(logits_BL.masked_fill(~false_BL, -torch.inf)) + _log1p_sum_exp(
            (-logits_BL).masked_fill(~true_BL, -torch.inf)
        )

    def link(self, output: LabelOutput) -> LabelOutput:
        """Scores σ(z): the cut z = 0 is at ½."""
        return ScoresOnly(output.score_logits(), output.scores())


def _log1p_sum_exp(values_BL: Tensor) -> Tensor:
    """B values log(1 + Σ_l exp v_l)."""
    zero_B1 = torch.zeros_like(values_BL[:, :1])
    return torch.cat([zero_B1, values_BL], dim=1).logsumexp(1)
