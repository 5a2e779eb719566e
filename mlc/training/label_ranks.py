"""Where the true labels of each row stand among all labels, from pieces of the labels."""

import torch
from torch import Tensor

from mlc.metrics.ranks import PositiveRanks
from mlc.training.label_predictions import Piece


class LabelRanks:
    """Ranks of the true labels: they are known from a first pass, and counted against all others in a second.

    How many labels of a row score higher is a sum over the pieces, so no row is ever sorted as a whole.

    Args:
        rows: N.
        device: where the scores are.
    """

    def __init__(self, rows: int, device: torch.device):
        self._rows = rows
        self._row: list[Tensor] = [torch.zeros(0, dtype=torch.int64, device=device)]
        self._score: list[Tensor] = [torch.zeros(0, device=device)]
        self._unknown_N: Tensor | None = None
        self._labels = 0

    def look(self, piece: Piece, scores_NC: Tensor) -> None:
        """The first pass."""
        row_P, column_P = piece.true
        self._row.append(row_P)
        self._score.append(scores_NC[row_P, column_P].float())

    def looked(self) -> None:
        """Between the passes: each row's true labels side by side, the missing ones above all scores."""
        row_P, order_P = torch.cat(self._row).sort(stable=True)
        self._n_N = torch.bincount(row_P, minlength=self._rows)
        place_P = torch.arange(len(row_P), device=row_P.device) - (self._n_N.cumsum(0) - self._n_N)[row_P]
        most = max(1, int(self._n_N.max()))
        self._score_NV = torch.full((self._rows, most), torch.inf, device=row_P.device)
        self._score_NV[row_P, place_P] = torch.cat(self._score)[order_P]
        self._pairs = row_P, place_P
        self._above_NV = torch.zeros_like(self._score_NV, dtype=torch.int64)
        self._at_least_NV = torch.zeros_like(self._above_NV)
        self._row, self._score = [], []

    def count(self, scores_NC: Tensor, unknown_NC: Tensor | None) -> None:
        """The second pass."""
        n_labels = scores_NC.shape[1]
        if unknown_NC is not None:
            scores_NC = scores_NC.masked_fill(unknown_NC, -torch.inf)
            here_N = unknown_NC.sum(1)
            self._unknown_N = here_N if self._unknown_N is None else self._unknown_N + here_N
        self._labels += n_labels
        sorted_NC = _sorted(scores_NC.float())
        self._above_NV += n_labels - torch.searchsorted(sorted_NC, self._score_NV, right=True)
        self._at_least_NV += n_labels - torch.searchsorted(sorted_NC, self._score_NV)

    def ranks(self) -> PositiveRanks:
        """After both."""
        row_P, place_P = self._pairs
        own_NV = self._score_NV.masked_fill(self._score_NV == torch.inf, -torch.inf).sort(dim=1).values
        at_least_NV = own_NV.shape[1] - torch.searchsorted(own_NV, self._score_NV)
        return PositiveRanks(
            row_P=row_P,
            above_P=self._above_NV[row_P, place_P],
            at_least_P=self._at_least_NV[row_P, place_P],
            positives_at_least_P=at_least_NV[row_P, place_P],
            positives_R=self._n_N,
            known_R=None if self._unknown_N is None else self._labels - self._unknown_N,
        )


def _sorted(scores_NC: Tensor) -> Tensor:
    """Each row sorted."""
    if not scores_NC.is_cpu:
        return scores_NC.sort(dim=1).values
    import numpy as np

    # NumPy sorts with vector instructions, torch sorts the indices, too.
    return torch.from_numpy(np.sort(scores_NC.numpy(), axis=1))
