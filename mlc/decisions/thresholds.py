"""Thresholds that maximise F1 on validation data, found exactly."""

import torch
from torch import Tensor
from torch.nn import functional as F

from mlc.decisions.threshold_rule import ThresholdRule
from mlc.outputs.base import LabelOutput

_BLOCK_CELLS = 2**23  # scores sorted at a time by PerLabelThreshold


class GlobalThreshold(ThresholdRule):
    """One threshold for all labels, which maximises micro-F1 on validation data; see `best_f1_thresholds`.

    Args:
        n_labels: number of labels L.
    """

    def __init__(self, *, n_labels: int):
        super().__init__(n_labels=n_labels, threshold=0.5)

    def check(self, output: LabelOutput) -> None:
        """Every output has scores, so every output fits."""

    @torch.no_grad()
    def fit(self, output: LabelOutput, y_NL: Tensor) -> None:
        """Sweep all cuts of all scores together."""
        self.threshold_L.copy_(best_f1_thresholds(output.scores().reshape(-1, 1), y_NL.reshape(-1, 1)))


class PerLabelThreshold(ThresholdRule):
    """A threshold per label, which maximises that label's F1, hence macro-F1, on validation data.

    A label without positives in the validation data gets its highest validation score as threshold: it is
    decided only where it scores above everything that was seen to be negative. `fallback_L` says which.

    Args:
        n_labels: number of labels L.

    Source: Yang (2001), "A study of thresholding strategies for text categorization": SCut, and for labels
        without positives SCutFBR.1.
    """

    def __init__(self, *, n_labels: int):
        super().__init__(n_labels=n_labels, threshold=0.5)
        self.register_buffer("fallback_L", torch.zeros(n_labels, dtype=torch.bool))
        self.fallback_L: Tensor

    def check(self, output: LabelOutput) -> None:
        """Every output has scores, so every output fits."""

    @torch.no_grad()
    def fit(self, output: LabelOutput, y_NL: Tensor) -> None:
        """Sweep all cuts of each label's scores, many labels at a time."""
        block = max(1, _BLOCK_CELLS // len(y_NL))
        scores, targets = torch.split(output.scores(), block, dim=1), torch.split(y_NL, block, dim=1)
        parts = [best_f1_thresholds(s_NL, t_NL) for s_NL, t_NL in zip(scores, targets, strict=True)]
        self.threshold_L.copy_(torch.cat(parts))
        self.fallback_L.copy_(~(y_NL > 0).any(0))


def best_f1_thresholds(scores_NL: Tensor, y_NL: Tensor) -> Tensor:
    """L float32 thresholds t that maximise the F1 of `scores > t` in each column, exactly.

    All cuts between distinct scores are tried, by one sort. Of equally good cuts the highest wins; t is
    midway between its neighbours. When everything is best decided, t is just below the lowest score; when
    there is no positive (F1 is 0 for every cut), nothing is decided: t is the highest score.
    """
    sorted_NL, order_NL = scores_NL.float().sort(dim=0, descending=True)
    # Row k of what follows is the cut that decides the k highest scores.
    hits_NL = y_NL.gather(0, order_NL).cumsum(0, dtype=torch.float64)
    hits_KL = F.pad(hits_NL, (0, 0, 1, 0))
    decided_K1 = torch.arange(len(hits_KL), device=hits_KL.device, dtype=hits_KL.dtype)[:, None]
    f1_KL = 2 * hits_KL / (decided_K1 + hits_KL[-1]).clamp(min=1)

    above_KL = torch.cat((sorted_NL[:1], sorted_NL))
    below_KL = torch.cat((sorted_NL, sorted_NL[-1:].nextafter(sorted_NL.new_tensor(-torch.inf))))
    is_cut_KL = above_KL > below_KL
    is_cut_KL[0] = True  # the cut that decides nothing
    best_1L = torch.where(is_cut_KL, f1_KL, -1).argmax(0, keepdim=True)
    return _between(above_KL.gather(0, best_1L), below_KL.gather(0, best_1L)).squeeze(0)


def _between(above: Tensor, below: Tensor) -> Tensor:
    """The float32 midpoint; `below` where rounding would give `above`, whose scores must stay decided."""
    middle = ((above.double() + below.double()) / 2).float()
    return torch.where(middle < above, middle, below)
