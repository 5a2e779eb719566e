"""Random evaluations with everything that makes metrics disagree: ties, empty and full rows and labels."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Case:
    decisions: Tensor
    scores: Tensor
    probabilities: Tensor
    y: Tensor

    def numpy(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Decisions, scores and targets as scikit-learn takes them."""
        return self.decisions.int().numpy(), self.scores.numpy(), self.y.int().numpy()


def random_case(seed: int, *, rows: int = 60, labels: int = 7, ties: bool = True) -> Case:
    g = torch.Generator().manual_seed(seed)
    scores = torch.randn(rows, labels, generator=g) * 2
    if ties:
        scores = (scores * 2).round() / 2
    y = (torch.rand(rows, labels, generator=g) < torch.sigmoid(scores)).float()
    decisions = torch.rand(rows, labels, generator=g) < 0.4
    y[0], y[1], y[:, 0], y[2:, 1] = 0, 1, 0, 1
    y[1, 0] = 0
    decisions[0] = False
    decisions[3] = False
    decisions[4] = y[4].bool()
    decisions[:, 2] = False
    return Case(decisions, scores, torch.sigmoid(scores), y)


def with_full_row(case: Case) -> Case:
    """The same, with one row in which every label is true."""
    y = case.y.clone()
    y[5] = 1
    return Case(case.decisions, case.scores, case.probabilities, y)
