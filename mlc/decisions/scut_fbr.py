"""A threshold per label, and caution where the label's own F1 is too low to trust it."""

from typing import Annotated, Literal

import torch
from annotated_types import Interval
from torch import Tensor

from mlc.decisions.cuts import best_f1_cuts, counted, highest_scores, without_positives
from mlc.decisions.threshold_rule import ThresholdRule
from mlc.outputs.base import LabelOutput


class SCutFBR(ThresholdRule):
    """The threshold of each label's best F1, unless that F1 on validation data stays under `fbr`.

    A rare label's best cut fits the few positives it happened to have, and then decides far too often
    elsewhere. A label under `fbr` gets a threshold that is rarely or never passed, and a label that is known
    nowhere is never decided; `fallback_L` says which.

    Args:
        n_labels: number of labels L.
        fbr: the F1 under which a label's cut is not trusted; a label that reaches it keeps its cut.
        below: its threshold then: its `highest_score` on validation data (SCutFBR.1), or infinity, so that
            it is `never` decided (SCutFBR.0).

    Source: Yang (2001), "A study of thresholding strategies for text categorization"; Lewis, Yang, Rose & Li
        (2004), "RCV1: A new benchmark collection for text categorization research".
    Differs: they pick `fbr` by cross-validation, and the cut on training folds; here `fbr` is given, and the
        cut is fitted on validation data.
    """

    def __init__(
        self,
        *,
        n_labels: int,
        fbr: Annotated[float, Interval(ge=0, le=1)],
        below: Literal["highest_score", "never"],
    ):
        super().__init__(n_labels=n_labels, threshold=0.5)
        self.fbr = fbr
        self.below = below
        self.register_buffer("fallback_L", torch.zeros(n_labels, dtype=torch.bool))
        self.fallback_L: Tensor

    def check(self, output: LabelOutput) -> None:
        """Every output has scores, so every output fits."""

    @torch.no_grad()
    def fit(self, output: LabelOutput, y_NL: Tensor, weight_N: Tensor | None = None) -> None:
        """Sweep all cuts of each label's scores, and distrust those of a low F1."""
        scores_NL, count_NL = output.scores(), counted(y_NL, weight_N)
        threshold_L, f1_L = best_f1_cuts(scores_NL, y_NL, count_NL)
        cautious_L = highest_scores(scores_NL, count_NL)
        if self.below == "never":
            cautious_L = torch.full_like(cautious_L, torch.inf)
        # A label without positives cannot be trusted under any fbr.
        self.fallback_L.copy_((f1_L < self.fbr) | without_positives(y_NL, count_NL))
        self.threshold_L.copy_(torch.where(self.fallback_L, cautious_L, threshold_L))
