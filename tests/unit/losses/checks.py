"""What every loss on raw logits must stand: extreme logits, one-sided rows, finite differences."""

import numpy as np
import pytest
import torch
from torch import Tensor

from mlc.batch import LabelStatistics
from mlc.losses.base import Loss
from mlc.outputs.base import NotDefinedError
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.scores_only import ScoresOnly

P_GRID = [0.001, 0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98, 0.999]


def statistics(positives: list[float], rows: int) -> LabelStatistics:
    """Statistics of training targets with these numbers of positives."""
    return LabelStatistics.from_targets((torch.arange(rows)[:, None] < torch.tensor(positives)).float())


def random_rows(n_rows: int = 40, n_labels: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits and targets, among them a row without labels and a row with all."""
    random = np.random.default_rng(seed)
    z = random.normal(size=(n_rows, n_labels)) * 3
    y = (random.random((n_rows, n_labels)) < 0.4).astype(float)
    y[0], y[1] = 0, 1
    return z, y


def losses(loss: Loss, z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """B losses of independent labels."""
    values: np.ndarray = loss(IndependentLabels(torch.from_numpy(z)), torch.from_numpy(y)).detach().numpy()
    return values


def gradient(loss: Loss, z_BL: Tensor, y_BL: Tensor) -> tuple[Tensor, Tensor]:
    """The B losses and the gradient of their mean with respect to z."""
    z_BL = z_BL.clone().requires_grad_()
    loss_B = loss(IndependentLabels(z_BL), y_BL)
    loss_B.mean().backward()
    assert z_BL.grad is not None
    return loss_B.detach(), z_BL.grad


def assert_gradient_by_finite_differences(loss: Loss, n_labels: int = 3) -> None:
    """Autograd equals finite differences, also in one-sided rows."""
    z, y = random_rows(6, n_labels)
    z_BL, y_BL = torch.from_numpy(z).requires_grad_(), torch.from_numpy(y)
    assert torch.autograd.gradcheck(lambda z: loss(IndependentLabels(z), y_BL), z_BL)


def assert_finite_at_extremes(loss: Loss) -> None:
    """Values and gradients of logits ±1e4, 0: right, wrong, all true, false or unknown; loss of 3 labels."""
    row_L = torch.tensor([-1e4, 0.0, 1e4])
    z_BL = row_L.expand(6, 3)
    unknown_L = torch.tensor([1, torch.nan, 0]), torch.full((3,), torch.nan)
    y_BL = torch.stack([(row_L > 0).float(), (row_L <= 0).float(), torch.ones(3), torch.zeros(3), *unknown_L])
    for rows in (slice(0, 6), slice(0, 2), slice(2, 3), slice(3, 4), slice(4, 5), slice(5, 6)):
        loss_B, grad_BL = gradient(loss, z_BL[rows], y_BL[rows])
        assert loss_B.isfinite().all()
        assert grad_BL.isfinite().all()
    linked = loss.link(IndependentLabels(z_BL))
    assert linked.score_logits().isfinite().all()
    assert linked.scores().isfinite().all()


def assert_scores_only(loss: Loss) -> None:
    """The link leaves the logits as scores and defines no marginals."""
    z_BL = torch.linspace(-20, 20, 12).reshape(4, 3)
    linked = loss.link(IndependentLabels(z_BL))
    assert isinstance(linked, ScoresOnly)
    assert torch.equal(linked.score_logits(), z_BL)
    assert torch.equal(linked.scores().argsort(0), z_BL.argsort(0))
    with pytest.raises(NotDefinedError, match="calibrat"):
        linked.marginals()
