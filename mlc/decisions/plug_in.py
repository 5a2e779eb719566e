"""Thresholds for F1 from the marginals alone, without looking at a target."""

from typing import Literal

import torch
from torch import Tensor

from mlc.decisions.cuts import best_f1_cuts, counted
from mlc.decisions.marginals import require_marginals
from mlc.decisions.threshold_rule import ThresholdRule
from mlc.outputs.base import LabelOutput


class PlugInThreshold(ThresholdRule):
    """Thresholds F*/2, where F* is the best F1 that the marginals of the validation rows promise.

    Deciding one more label pays for F1 exactly when its probability is above F*/2. F* itself is the largest
    2 Σ_decided p / (number decided + Σ p) over all cuts, with expected counts in place of targets: as good as
    the calibration, and steadier than a cut fitted to a few positives.

    Of the targets only this is used, where they are known: F* is that of the known entries, which are those
    that F1 is measured on. A label that is known nowhere keeps the threshold ½, the highest that the rule can
    give; `fallback_L` says which.

    Args:
        n_labels: number of labels L.
        average: `macro`, a threshold per label; or `micro`, one for all labels.

    Source: Lipton, Elkan & Narayanaswamy (2014), "Optimal thresholding of classifiers to maximize F1
        measure", theorem 1 (arXiv 1402.1892).
    """

    def __init__(self, *, n_labels: int, average: Literal["macro", "micro"]):
        super().__init__(n_labels=n_labels, threshold=0.5)
        self.average = average
        self.register_buffer("fallback_L", torch.zeros(n_labels, dtype=torch.bool))
        self.fallback_L: Tensor

    def check(self, output: LabelOutput) -> None:
        """Raise UserError for an output without marginals."""
        require_marginals(output, rule="plug_in")

    @torch.no_grad()
    def fit(self, output: LabelOutput, y_NL: Tensor, weight_N: Tensor | None = None) -> None:
        """Find F* from the marginals; whether a target is 0 or 1 is not used."""
        p_NL, count_NL = output.marginals(), counted(y_NL, weight_N)
        if self.average == "micro":
            p_NL, count_NL = p_NL.reshape(-1, 1), count_NL.reshape(-1, 1)
        _, f1_L = best_f1_cuts(p_NL, p_NL, count_NL)
        self.fallback_L.copy_((count_NL == 0).all(0))
        self.threshold_L.copy_(torch.where(self.fallback_L, 0.5, f1_L / 2))
