"""Thresholds per label that serve micro-F1 and macro-F1 together, set from frequent labels to rare ones."""

from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from mlc.decisions.cuts import Cuts, counted, highest_scores, without_positives
from mlc.decisions.threshold_rule import ThresholdRule
from mlc.outputs.base import LabelOutput

_FOLD_SEED = 0
_TINY = torch.finfo(torch.float64).tiny


class ThresholdByFrequency(ThresholdRule):
    """Each label's cut maximises its F1 / (labels done, itself included) + the micro-F1 of the labels done.

    Labels come by falling number of positives. The first term is the label's part in macro-F1; the second
    counts what the cut costs those before it, and grows in weight as labels get rarer, so that a rare label
    with a poor ranking decides little instead of fitting its few positives. The validation rows are dealt
    into folds at random (the same at every fit), each fold sets the cuts of the labels that it knows, and the
    threshold is their mean. A row of weight k counts k times in the fold that it is dealt to.

    A label without positives in the validation data gets its highest validation score, and is never decided
    where it is known nowhere; `fallback_L` says which. Where only a fold has none, micro-F1 alone asks that
    fold to decide nothing.

    Args:
        n_labels: number of labels L.
        folds: number of folds; at most one for each validation row with a known label is made.

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
    def fit(self, output: LabelOutput, y_NL: Tensor, weight_N: Tensor | None = None) -> None:
        """Set the cuts of every fold, and take their mean."""
        scores_NL, count_NL = output.scores(), counted(y_NL, weight_N)
        # NaN times 0 is NaN: an unknown target must be left out before it is weighed.
        positives_L = torch.where(count_NL > 0, y_NL, 0).mul(count_NL).sum(0)
        order_L = positives_L.argsort(descending=True, stable=True)
        fits = [
            cut_by_frequency(scores_NL[rows], y_NL[rows], count_NL[rows], order_L)
            for rows in self._folds(count_NL)
        ]
        self.fallback_L.copy_(without_positives(y_NL, count_NL))
        mean_L = torch.stack(fits).double().nanmean(0).float()
        self.threshold_L.copy_(torch.where(self.fallback_L, highest_scores(scores_NL, count_NL), mean_L))

    def _folds(self, count_NL: Tensor) -> list[Tensor]:
        rows_N = (count_NL > 0).any(1).nonzero().squeeze(1)
        shuffled_N = torch.randperm(len(rows_N), generator=torch.Generator().manual_seed(_FOLD_SEED))
        return list(rows_N[shuffled_N.to(rows_N.device)].tensor_split(max(1, min(self.folds, len(rows_N)))))


def cut_by_frequency(scores_NL: Tensor, y_NL: Tensor, count_NL: Tensor, order_L: Tensor) -> Tensor:
    """L thresholds, set one label after the other in the given order; O(L · N log N).

    Args:
        scores_NL: scores.
        y_NL: targets: 0, 1 or NaN where unknown.
        count_NL: how often each target counts; see `counted`.
        order_L: the labels, each once.

    Returns:
        L thresholds in float32; NaN for a label that is known in none of the rows.
    """
    threshold_L = torch.full((len(order_L),), torch.nan, device=scores_NL.device)
    known = order_L[(count_NL > 0).any(0)[order_L]].tolist()
    hits = torch.zeros((), dtype=torch.float64, device=scores_NL.device)
    decided_or_positive = torch.zeros_like(hits)  # true positives counted twice: the denominator of F1
    for done, label in enumerate(known, start=1):
        column = slice(label, label + 1)
        cuts = Cuts(scores_NL[:, column], y_NL[:, column], count_NL[:, column])
        own_K1 = cuts.decided_KL + cuts.positives_L
        micro_K1 = 2 * (hits + cuts.hits_KL) / (decided_or_positive + own_K1).clamp(min=_TINY)
        cut_1 = cuts.best(cuts.f1() / done + micro_K1)
        threshold_L[column] = cuts.thresholds(cut_1)
        hits = hits + cuts.hits_KL[cut_1].squeeze()
        decided_or_positive = decided_or_positive + own_K1[cut_1].squeeze()
    return threshold_L
