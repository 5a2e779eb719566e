"""Every cut between the distinct scores of a label, and what deciding above it hits."""

import torch
from torch import Tensor
from torch.nn import functional as F

_BLOCK_CELLS = 2**23  # scores sorted at a time by `best_f1_cuts`
_TINY = torch.finfo(torch.float64).tiny


def counted(y_NL: Tensor, weight_N: Tensor | None) -> Tensor:
    """N×L float64: how often each target counts, which is its row's weight, and 0 where it is unknown."""
    known_NL = (~y_NL.isnan()).double()
    return known_NL if weight_N is None else known_NL * weight_N.double()[:, None]


def without_positives(y_NL: Tensor, count_NL: Tensor) -> Tensor:
    """L booleans: the labels that are nowhere known to be true, in no row that counts."""
    return ~((y_NL > 0) & (count_NL > 0)).any(0)


def highest_scores(scores_NL: Tensor, count_NL: Tensor) -> Tensor:
    """L float32: each label's highest score that counts; infinity where none does."""
    counts_NL = count_NL > 0
    highest_L = scores_NL.float().masked_fill(~counts_NL, -torch.inf).amax(0)
    return torch.where(counts_NL.any(0), highest_L, torch.inf)


class Cuts:
    """All cuts of each column of scores, by one sort: row k is the cut that decides the k highest scores.

    Entries that do not count are put level with the lowest score that does: no cut lies between, so that a
    column has the cuts that it would have without them. A column where nothing counts is cut at infinity.

    Args:
        scores_NL: scores, compared in float32.
        y_NL: targets, 0 or 1, or expected targets in [0, 1]; anything where they do not count.
        count_NL: float64, how often each entry counts; 0 removes it.
    """

    def __init__(self, scores_NL: Tensor, y_NL: Tensor, count_NL: Tensor):
        counts_NL = count_NL > 0
        scores_NL = scores_NL.float()
        lowest_1L = scores_NL.masked_fill(~counts_NL, torch.inf).amin(0, keepdim=True)
        sorted_NL, order_NL = torch.where(counts_NL, scores_NL, lowest_1L).sort(dim=0, descending=True)
        hits_NL = torch.where(counts_NL, y_NL, 0) * count_NL
        self.hits_KL = F.pad(hits_NL.gather(0, order_NL).cumsum(0), (0, 0, 1, 0))
        self.decided_KL = F.pad(count_NL.gather(0, order_NL).cumsum(0), (0, 0, 1, 0))
        self.positives_L = self.hits_KL[-1]
        self._above_KL = torch.cat((sorted_NL[:1], sorted_NL))
        self._below_KL = torch.cat((sorted_NL, lowest_1L.nextafter(lowest_1L.new_tensor(-torch.inf))))
        self._is_cut_KL = self._above_KL > self._below_KL
        self._is_cut_KL[0] = True  # the cut that decides nothing

    def f1(self) -> Tensor:
        """K×L F1 of every cut; 0 where nothing is hit."""
        return 2 * self.hits_KL / (self.decided_KL + self.positives_L).clamp(min=_TINY)

    def best(self, value_KL: Tensor) -> Tensor:
        """The cut of the largest value ≥ 0 in each column, never inside a tie; of equal ones the highest."""
        return torch.where(self._is_cut_KL, value_KL, -1).argmax(0)

    def thresholds(self, cut_L: Tensor) -> Tensor:
        """L float32 thresholds t for which `scores > t` decides what the cut decides.

        t is midway between the scores beside the cut; just below the lowest score where all is decided, the
        highest score where nothing is.
        """
        above_1L, below_1L = self._above_KL.gather(0, cut_L[None]), self._below_KL.gather(0, cut_L[None])
        return _between(above_1L, below_1L).squeeze(0)


def best_f1_cuts(scores_NL: Tensor, y_NL: Tensor, count_NL: Tensor) -> tuple[Tensor, Tensor]:
    """Thresholds that maximise the F1 of `scores > t` in each column, exactly, and that F1.

    Many columns are swept at a time. Of equally good cuts the highest wins; when there is no positive (F1 is
    0 for every cut), nothing is decided.

    Args:
        scores_NL: scores.
        y_NL: targets, or expected targets; the F1 is then that of the expected counts.
        count_NL: how often each entry counts; see `counted`.

    Returns:
        L thresholds in float32 and L values of F1 in float64.
    """
    block = max(1, _BLOCK_CELLS // len(y_NL))
    columns = (torch.split(values_NL, block, dim=1) for values_NL in (scores_NL, y_NL, count_NL))
    thresholds, values = [], []
    for s_NL, t_NL, c_NL in zip(*columns, strict=True):
        cuts = Cuts(s_NL, t_NL, c_NL)
        f1_KL = cuts.f1()
        cut_L = cuts.best(f1_KL)
        thresholds.append(cuts.thresholds(cut_L))
        values.append(f1_KL.gather(0, cut_L[None]).squeeze(0))
    return torch.cat(thresholds), torch.cat(values)


def _between(above: Tensor, below: Tensor) -> Tensor:
    """The float32 midpoint; `below` where rounding would give `above`, whose scores must stay decided."""
    middle = ((above.double() + below.double()) / 2).float()
    return torch.where(middle < above, middle, below)
