"""Thresholds per label that serve micro-F1 and macro-F1 together, set from frequent labels to rare ones."""

from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from mlc.decisions.cuts import Cuts
from mlc.decisions.threshold_rule import ThresholdRule
from mlc.outputs.base import LabelOutput

_FOLD_SEED = 0


class ThresholdByFrequency(ThresholdRule):
    """Each label's cut maximises its F1 / (labels done, itself included) + the micro-F1 of the labels done.

    Labels come by falling frequency. The first term is the label's part in macro-F1; the second counts what
    the cut costs those before it, and grows in weight as labels get rarer, so that a rare label with a poor
    ranking decides little instead of fitting its few positives. The validation rows are dealt into folds at
    random (the same at every fit), each fold sets the cuts of all labels, and the threshold is their mean.

    A label without positives in the validation data gets its highest validation score; `fallback_L` says
    which. Where only a fold has none, micro-F1 alone asks that fold to decide nothing.

    Args:
        n_labels: number of labels L.
        folds: number of folds; at most one for each validation row is made.

    Source: Lin & Lin (2023), "On the thresholding strategy for infrequent labels in multi-label
        classification", the joint optimisation of micro-F and macro-F.
    Differs: they train again for each fold and cut on the rows left out. Here the network has not seen the
        validation rows at all, so each fold only picks cuts.
    """

    def __init__(self, *, n_labels: int, folds: Annotated[int, Ge(1)]):
        super().__init__(n_labels=n_labels, threshold=0.5)
        self.folds = folds
        self.register_buffer("fallback_L", torch.zeros(n_labels, dtype=torch.bool))
        self.fallback_L: Tensor

    def check(self, output: LabelOutput) -> None:
        """Every output has scores, so every output fits."""

    @torch.no_grad()
    def fit(self, output: LabelOutput, y_NL: Tensor) -> None:
        """Set the cuts of every fold, and take their mean."""
        scores_NL, positives_L = output.scores(), y_NL.sum(0)
        order_L = positives_L.argsort(descending=True, stable=True)
        fits = [cut_by_frequency(scores_NL[rows], y_NL[rows], order_L) for rows in self._folds(y_NL)]
        self.fallback_L.copy_(positives_L == 0)
        mean_L = torch.stack(fits).double().mean(0).float()
        self.threshold_L.copy_(torch.where(self.fallback_L, scores_NL.float().amax(0), mean_L))

    def _folds(self, y_NL: Tensor) -> list[Tensor]:
        shuffled_N = torch.randperm(len(y_NL), generator=torch.Generator().manual_seed(_FOLD_SEED))
        return list(shuffled_N.to(y_NL.device).tensor_split(min(self.folds, len(y_NL))))


def cut_by_frequency(scores_NL: Tensor, y_NL: Tensor, order_L: Tensor) -> Tensor:
    """L thresholds, set one label after the other in the given order; O(L · N log N).

    Args:
        scores_NL: scores.
        y_NL: targets, 0 or 1.
        order_L: the labels, each once.
    """
    threshold_L = torch.empty(len(order_L), device=scores_NL.device)
    hits = torch.zeros((), dtype=torch.float64, device=scores_NL.device)
    decided_or_positive = torch.zeros_like(hits)  # true positives counted twice: the denominator of F1
    for done, label_1 in enumerate(order_L.split(1), start=1):
        cuts = Cuts(scores_NL[:, label_1], y_NL[:, label_1])
        own_K1 = cuts.decided_K1 + cuts.positives_L
        micro_K1 = 2 * (hits + cuts.hits_KL) / (decided_or_positive + own_K1).clamp(min=1)
        cut_1 = cuts.best(cuts.f1() / done + micro_K1)
        threshold_L[label_1] = cuts.thresholds(cut_1)
        hits = hits + cuts.hits_KL[cut_1].squeeze()
        decided_or_positive = decided_or_positive + own_K1[cut_1].squeeze()
    return threshold_L
