"""Logistic regression on one score per label, for all labels at once."""

import torch
from torch import Tensor
from torch.nn import functional as F

_MAX_STEPS = 100
_MAX_HALVINGS = 30
_GRADIENT_TOLERANCE = 1e-10  # of the mean loss, in nats per unit of a and b
_SUFFICIENT_DECREASE = 1e-4
_ROUNDING = 1e-14  # of the mean loss: near the minimum, a full step may look this much worse than it is
_RIDGE = 1e-12  # keeps the 2×2 systems solvable where a score does not vary, as in Lin, Lin & Weng


def fit_sigmoids(
    z_NL: Tensor, t_NL: Tensor, *, a_L: Tensor, b_L: Tensor, free_L: Tensor
) -> tuple[Tensor, Tensor]:
    """Minimise the mean cross-entropy of σ(a_l z + b_l) against targets t, by damped Newton.

    Args:
        z_NL: float64 scores, of mean 0 and standard deviation 1 for each label.
        t_NL: float64 targets in (0, 1).
        a_L, b_L: where to start.
        free_L: labels whose slope may move; the others fit b alone.

    Returns:
        The slopes and intercepts.
    """
    for _ in range(_MAX_STEPS):
        gradient_L2, step_L2 = _newton_step(z_NL, t_NL, a_L, b_L, free_L)
        active_L = gradient_L2.abs().amax(1) > _GRADIENT_TOLERANCE
        if not active_L.any():
            break
        step_L2 = torch.where(active_L[:, None], step_L2, 0)
        length_L = _line_search(z_NL, t_NL, a_L, b_L, step_L2, (gradient_L2 * step_L2).sum(1))
        a_L, b_L = a_L + length_L * step_L2[:, 0], b_L + length_L * step_L2[:, 1]
    return a_L, b_L


def mean_cross_entropy(z_NL: Tensor, t_NL: Tensor, a_L: Tensor, b_L: Tensor) -> Tensor:
    """L mean cross-entropies in nats."""
    f_NL = a_L * z_NL + b_L
    return F.binary_cross_entropy_with_logits(f_NL, t_NL, reduction="none").mean(0)


def _newton_step(
    z_NL: Tensor, t_NL: Tensor, a_L: Tensor, b_L: Tensor, free_L: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients and Newton steps in (a, b), both L×2."""
    p_NL = torch.sigmoid(a_L * z_NL + b_L)
    residual_NL, weight_NL = p_NL - t_NL, p_NL * (1 - p_NL)
    gradient_a_L = torch.where(free_L, (residual_NL * z_NL).mean(0), 0)
    gradient_b_L = residual_NL.mean(0)
    curvature_ab_L = torch.where(free_L, (weight_NL * z_NL).mean(0), 0)
    curvature_aa_L = (weight_NL * z_NL.square()).mean(0) + _RIDGE
    curvature_bb_L = weight_NL.mean(0) + _RIDGE
    determinant_L = curvature_aa_L * curvature_bb_L - curvature_ab_L.square()
    step_a_L = (curvature_ab_L * gradient_b_L - curvature_bb_L * gradient_a_L) / determinant_L
    step_b_L = (curvature_ab_L * gradient_a_L - curvature_aa_L * gradient_b_L) / determinant_L
    return torch.stack((gradient_a_L, gradient_b_L), dim=1), torch.stack((step_a_L, step_b_L), dim=1)


def _line_search(
    z_NL: Tensor, t_NL: Tensor, a_L: Tensor, b_L: Tensor, step_L2: Tensor, descent_L: Tensor
) -> Tensor:
    """L step lengths in [0, 1], halved until the loss falls enough; 0 where it cannot fall any more."""
    start_L = mean_cross_entropy(z_NL, t_NL, a_L, b_L)
    length_L = torch.ones_like(a_L)
    for _ in range(_MAX_HALVINGS):
        trial_a_L, trial_b_L = a_L + length_L * step_L2[:, 0], b_L + length_L * step_L2[:, 1]
        trial_L = mean_cross_entropy(z_NL, t_NL, trial_a_L, trial_b_L)
        enough_L = trial_L <= start_L + _SUFFICIENT_DECREASE * length_L * descent_L + _ROUNDING
        if enough_L.all():
            return length_L
        length_L = torch.where(enough_L, length_L, length_L / 2)
    return torch.where(enough_L, length_L, 0)
