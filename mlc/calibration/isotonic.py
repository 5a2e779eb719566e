"""Isotonic calibration: per label, the rising staircase that fits the validation data best."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mlc.calibration.examples import Cells
from mlc.calibration.platt_fallback import PlattFallback
from mlc.outputs.base import LabelOutput


class Isotonic(PlattFallback):
    """The non-decreasing function of a label's score with the least squared error, for every kind of output.

    Found by pooling adjacent violators. Between validation scores it is linear, beyond them constant; values
    are kept in [1 / (N₋ + 2), (N₊ + 1) / (N₊ + 2)], the bounds of Platt's targets, so that no label is called
    certain. Labels with fewer than 10 positives or negatives take Platt's sigmoid.

    Steps make ties: examples on one step are no longer ranked, which ranking metrics after calibration show.

    Args:
        n_labels: number of labels L.

    Source: Zadrozny & Elkan (2002), "Transforming classifier scores into accurate multiclass probability
        estimates", section 3.3.
    Differs: the bounds, and Platt's sigmoid for rare labels.
    """

    def __init__(self, *, n_labels: int):
        super().__init__(n_labels=n_labels)
        # K knots per label, padded by repeating the last one; every fit has its own K.
        self.register_buffer("score_LK", torch.zeros(n_labels, 1))
        self.register_buffer("probability_LK", torch.full((n_labels, 1), 0.5))
        self.score_LK: Tensor
        self.probability_LK: Tensor

    def check(self, output: LabelOutput) -> None:
        """Every output has score logits, so every output fits."""

    def fit_labels(self, cells: Cells) -> None:
        """Pool adjacent violators, one label at a time."""
        s_NL, y_NL, weight_NL = cells
        weights = [None] * self.n_labels if weight_NL is None else weight_NL.T
        columns = zip(s_NL.T, y_NL.T, weights, self.fallback_L.tolist(), strict=True)
        knots = [
            _no_knots(s_N) if falls_back else pool_adjacent_violators(s_N, y_N, weight_N)
            for s_N, y_N, weight_N, falls_back in columns
        ]
        width = max(len(score_K) for score_K, _ in knots)
        self.score_LK = torch.stack([_pad(score_K, width) for score_K, _ in knots])
        self.probability_LK = torch.stack([_pad(p_K, width) for _, p_K in knots])

    def logits(self, s_BL: Tensor) -> Tensor:
        """Interpolated between the two knots around each score."""
        score_LB = s_BL.to(self.score_LK.dtype).T.contiguous()
        last = self.score_LK.shape[1] - 1
        above_LB = torch.searchsorted(self.score_LK, score_LB).clamp(max=last)
        below_LB = (above_LB - 1).clamp(min=0)
        low_LB, high_LB = self.score_LK.gather(1, below_LB), self.score_LK.gather(1, above_LB)
        width_LB = high_LB - low_LB
        part_LB = torch.where(width_LB > 0, (score_LB - low_LB) / width_LB, 0).clamp(0, 1)
        p_LB = torch.lerp(
            self.probability_LK.gather(1, below_LB), self.probability_LK.gather(1, above_LB), part_LB
        )
        return p_LB.logit().to(s_BL.dtype).T

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        # The number of knots is that of the fit to be restored, which torch would refuse as another shape.
        for name in ("score_LK", "probability_LK"):
            saved = state_dict.get(prefix + name)
            if saved is not None and len(saved) == self.n_labels:
                setattr(self, name, getattr(self, name).new_zeros(saved.shape))
        super()._load_from_state_dict(state_dict, prefix, *args)


def pool_adjacent_violators(
    s_N: Tensor, y_N: Tensor, weight_N: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Knots of one label's isotonic fit: K rising scores, and their probabilities, in float32."""
    from sklearn.isotonic import IsotonicRegression  # takes a second to import

    if weight_N is not None:
        counts_N = weight_N > 0
        s_N, y_N, weight_N = s_N[counts_N], y_N[counts_N], weight_N[counts_N]
    weights = torch.ones_like(y_N) if weight_N is None else weight_N
    positives, examples = float((y_N * weights).sum()), float(weights.sum())
    fit = IsotonicRegression(y_min=1 / (examples - positives + 2), y_max=(positives + 1) / (positives + 2))
    fit.fit(*(values_N.double().cpu().numpy() for values_N in (s_N, y_N)), weights.double().cpu().numpy())
    knots = torch.from_numpy(fit.X_thresholds_).to(s_N), torch.from_numpy(fit.y_thresholds_).to(s_N)
    return knots[0].float(), knots[1].float()


def _no_knots(s_N: Tensor) -> tuple[Tensor, Tensor]:
    """A knot that stands for nothing, for a label that falls back."""
    return s_N.new_zeros(1).float(), s_N.new_full((1,), 0.5).float()


def _pad(values_K: Tensor, width: int) -> Tensor:
    return torch.cat((values_K, values_K[-1:].expand(width - len(values_K))))
