"""Histogram calibration: per label, the frequency of positives in bins of equally many examples."""

from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor

from mlc.calibration.examples import Cells
from mlc.calibration.platt_fallback import PlattFallback
from mlc.outputs.base import LabelOutput


class Histogram(PlattFallback):
    """In each bin of a label's scores, (positives + m f) / (examples + m), for every kind of output.

    Bins hold equally many validation examples, as far as ties let them; f is the label's smoothed frequency
    (N₊ + 1) / (N + 2), towards which bins are shrunk. Labels with fewer than 10 positives or negatives take
    Platt's sigmoid. Examples in one bin are no longer ranked, and bins may reverse the ranking of others.

    Args:
        n_labels: number of labels L.
        bins: number of bins K of each label.
        shrinkage: m, in examples.

    Source: Zadrozny & Elkan (2001), "Obtaining calibrated probability estimates from decision trees and naive
        Bayesian classifiers", section 4: binning, with m-estimation within the bins.
    """

    def __init__(self, *, n_labels: int, bins: Annotated[int, Ge(1)], shrinkage: Annotated[float, Gt(0)]):
        super().__init__(n_labels=n_labels)
        self.bins = bins
        self.shrinkage = shrinkage
        self.register_buffer("edge_LK", torch.zeros(n_labels, bins - 1))
        self.register_buffer("logit_LK", torch.zeros(n_labels, bins))
        self.edge_LK: Tensor
        self.logit_LK: Tensor

    def check(self, output: LabelOutput) -> None:
        """Every output has score logits, so every output fits."""

    def fit_labels(self, cells: Cells) -> None:
        """Cut every label's scores at their quantiles, and count."""
        s_NL, y_NL, weight_NL = cells
        self.edge_LK.copy_(_edges(s_NL, weight_NL, self.bins))
        bin_LN = self._bins(s_NL)
        weight_LN = (torch.ones_like(y_NL) if weight_NL is None else weight_NL).T.double()
        examples_LK = weight_LN.new_zeros(self.n_labels, self.bins).scatter_add_(1, bin_LN, weight_LN)
        positives_LK = torch.zeros_like(examples_LK).scatter_add_(1, bin_LN, weight_LN * y_NL.T)
        frequency_L1 = (positives_LK.sum(1, keepdim=True) + 1) / (examples_LK.sum(1, keepdim=True) + 2)
        p_LK = (positives_LK + self.shrinkage * frequency_L1) / (examples_LK + self.shrinkage)
        self.logit_LK.copy_(p_LK.logit())

    def logits(self, s_BL: Tensor) -> Tensor:
        """The logit of each score's bin."""
        return self.logit_LK.gather(1, self._bins(s_BL)).T

    def _bins(self, s_BL: Tensor) -> Tensor:
        """L×B numbers of bins: a score equal to an edge belongs to the bin above it."""
        s_LB = s_BL.to(self.edge_LK.dtype).T.contiguous()
        return torch.searchsorted(self.edge_LK, s_LB, right=True)


def _edges(s_NL: Tensor, weight_NL: Tensor | None, bins: int) -> Tensor:
    """L×(K-1) scores at which bins begin: the first with more than k/K of the examples at or below it."""
    sorted_LN, order_LN = s_NL.T.sort(dim=1)
    if weight_NL is None:
        return sorted_LN[:, torch.arange(1, bins, device=s_NL.device) * len(s_NL) // bins]
    examples_LN = weight_NL.T.double().gather(1, order_LN).cumsum(1)
    wanted_LK = examples_LN[:, -1:] * torch.arange(1, bins, device=s_NL.device) / bins
    first_LK = torch.searchsorted(examples_LN, wanted_LK, right=True)
    return sorted_LN.gather(1, first_LK.clamp(max=len(s_NL) - 1))
