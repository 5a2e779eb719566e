"""The best labels of each row, from pieces of the labels that are seen once."""

from typing import NamedTuple

import torch
from torch import Tensor

from mlc.metrics.ranks import ordered_keys
from mlc.rows import LabelRows

_LOW = 2**32


class BestLabels(NamedTuple):
    """The best labels of each row, the best first; of equals the one with the lower number.

    Args:
        key_NK: int64, the label under its score: larger is better, and no two of a row are equal.
        value_NK: what was to be remembered of each.
    """

    key_NK: Tensor
    value_NK: Tensor

    @classmethod
    def of(cls, scores_NC: Tensor, values_NC: Tensor, *, first: int, k: int) -> "BestLabels":
        """The best of a piece.

        Args:
            scores_NC: float32 scores that compare within a row.
            values_NC: what is to be remembered of each label.
            first: number of the piece's first label.
            k: how many; all labels where there are fewer.
        """
        label_C = torch.arange(first, first + scores_NC.shape[1], device=scores_NC.device)
        key_NC = ordered_keys(scores_NC).long() * _LOW - label_C
        key_NK, place_NK = key_NC.topk(min(k, scores_NC.shape[1]), dim=1)
        return cls(key_NK, values_NC.gather(1, place_NK))

    def with_others(self, other: "BestLabels", *, k: int) -> "BestLabels":
        """The best of these labels and of others."""
        key_NK, place_NK = torch.cat([self.key_NK, other.key_NK], 1).sort(dim=1, descending=True)
        value_NK = torch.cat([self.value_NK, other.value_NK], 1).gather(1, place_NK[:, :k])
        return BestLabels(key_NK[:, :k], value_NK)

    @property
    def label_NK(self) -> Tensor:  # noqa: N802 - the shape suffix
        """Their numbers, int64."""
        return (-self.key_NK).remainder(_LOW)

    def first(self, n_N: Tensor, *, n_labels: int) -> LabelRows:
        """The n best labels of each row.

        Args:
            n_N: how many, at most K.
            n_labels: L.
        """
        taken_NK = torch.arange(self.key_NK.shape[1], device=n_N.device) < n_N[:, None]
        length_N = taken_NK.sum(1)
        return LabelRows(self.label_NK[taken_NK], length_N.cumsum(0) - length_N, length_N, n_labels)
