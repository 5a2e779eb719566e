"""Random evaluations with everything that makes metrics disagree: ties, empty and full rows and labels."""

from dataclasses import dataclass, replace

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


def with_unknown(case: Case, seed: int = 0) -> Case:
    """The same with a third of the targets unknown: all of row 7, but not labels 1 and 4 of the others."""
    hidden = torch.rand(case.y.shape, generator=torch.Generator().manual_seed(seed)) < 1 / 3
    hidden[:, 1] = hidden[:, 4] = False
    hidden[7] = True
    return replace(case, y=case.y.masked_fill(hidden, torch.nan))


def random_weights(seed: int, *, rows: int = 60, whole: bool = False) -> Tensor:
    """Weights of rows, a few of them 0: 0 .. 3 if whole, else with any fraction, mostly below 1."""
    g = torch.Generator().manual_seed(seed)
    weight = torch.randint(0, 4, (rows,), generator=g).float()
    return weight if whole else weight * torch.rand(rows, generator=g)


def known_rows(case: Case) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Decisions, scores and targets of the known labels of each row that has any."""
    rows = []
    for decisions, scores, y in zip(case.decisions, case.scores, case.y, strict=True):
        known = ~y.isnan()
        if known.any():
            rows.append((decisions[known].int().numpy(), scores[known].numpy(), y[known].int().numpy()))
    return rows


def known_labels(case: Case) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Decisions, scores and targets of the rows in which each label is known."""
    return known_rows(Case(case.decisions.T, case.scores.T, case.probabilities.T, case.y.T))
