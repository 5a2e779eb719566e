"""Logistic regression on a few features per label, for all labels at once."""

import torch
from torch import Tensor
from torch.nn import functional as F

_MAX_STEPS = 100
_MAX_HALVINGS = 30
_GRADIENT_TOLERANCE = 1e-10  # of the mean loss, in nats per unit of a weight
_SUFFICIENT_DECREASE = 1e-4
_ROUNDING = 1e-14  # of the mean loss: near the minimum, a full step may look this much worse than it is
_RIDGE = 1e-12  # keeps the systems solvable where a feature does not vary, as in Lin, Lin & Weng
_BLOCK_CELLS = 2**17  # examples × labels at a time: arrays of 1 MB, which stay in the cache


def fit_logistic(
    features: tuple[Tensor, ...],
    t_NL: Tensor,
    *,
    start_LP: Tensor,
    free_LP: Tensor,
    prior_precision: float = 0.0,
) -> Tensor:
    """Minimise each label's mean cross-entropy of σ(b + Σ_p w_p x_p) against targets t, by damped Newton.

    Args:
        features: P-1 tensors N×L in float64, best of mean 0 and standard deviation 1 for each label.
        t_NL: float64 targets in [0, 1].
        start_LP: where to start; the last of the P weights is the intercept b.
        free_LP: weights that may move; the others stay where they start.
        prior_precision: of a Gaussian prior around the start, in units of one example's squared weight.

    Returns:
        The weights, L×P.
    """
    block = max(1, _BLOCK_CELLS // len(t_NL))
    fits = []
    for low in range(0, t_NL.shape[1], block):
        labels = slice(low, low + block)
        columns = [x_NL[:, labels] for x_NL in features]
        x_LPN = torch.stack([*columns, torch.ones_like(t_NL[:, labels])]).permute(2, 0, 1).contiguous()
        loss = _PenalisedCrossEntropy(
            x_LPN, t_NL[:, labels].T.contiguous(), start_LP[labels], prior_precision
        )
        fits.append(_minimise(loss, start_LP[labels], free_LP[labels]))
    return torch.cat(fits)


def mean_cross_entropy(features: tuple[Tensor, ...], t_NL: Tensor, w_LP: Tensor) -> Tensor:
    """L mean cross-entropies in nats."""
    f_NL = w_LP[:, -1] + sum(w_L * x_NL for w_L, x_NL in zip(w_LP.T, features, strict=False))
    return F.binary_cross_entropy_with_logits(f_NL, t_NL, reduction="none").mean(0)


class _PenalisedCrossEntropy:
    """The loss of some labels, with what one pass over their examples tells about it."""

    def __init__(self, x_LPN: Tensor, t_LN: Tensor, centre_LP: Tensor, prior_precision: float):
        self.x_LPN, self.t_LN, self.centre_LP = x_LPN, t_LN, centre_LP
        self.precision = prior_precision / t_LN.shape[1]  # the loss is a mean, and so is the prior's part
        identity_PP = torch.eye(x_LPN.shape[1], dtype=x_LPN.dtype, device=x_LPN.device)
        self.curvature_PP = (self.precision + _RIDGE) * identity_PP

    def value(self, w_LP: Tensor) -> tuple[Tensor, Tensor]:
        """L losses, and the L×N log-odds f they were computed from."""
        f_LN = torch.bmm(w_LP[:, None], self.x_LPN).squeeze(1)
        # log(1 + e^f) - t f, with the exponential of -|f| alone, so that nothing overflows.
        entropy_L = (F.relu(f_LN) + torch.log1p(torch.exp(-f_LN.abs()))).sub_(self.t_LN * f_LN).mean(1)
        return entropy_L + self.precision / 2 * (w_LP - self.centre_LP).square().sum(1), f_LN

    def derivatives(self, w_LP: Tensor, f_LN: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient L×P and Hessian L×P×P of `value`."""
        n = f_LN.shape[1]
        p_LN = torch.sigmoid(f_LN)
        gradient_LP = torch.bmm(self.x_LPN, (p_LN - self.t_LN)[:, :, None]).squeeze(2) / n
        weighted_LPN = self.x_LPN * (p_LN * (1 - p_LN))[:, None]
        hessian_LPP = torch.bmm(weighted_LPN, self.x_LPN.mT) / n
        return gradient_LP + self.precision * (w_LP - self.centre_LP), hessian_LPP + self.curvature_PP


def _minimise(loss: _PenalisedCrossEntropy, w_LP: Tensor, free_LP: Tensor) -> Tensor:
    """Newton with backtracking; one pass over the examples for a step that is taken whole."""
    value_L, f_LN = loss.value(w_LP)
    for _ in range(_MAX_STEPS):
        gradient_LP, hessian_LPP = loss.derivatives(w_LP, f_LN)
        gradient_LP = torch.where(free_LP, gradient_LP, 0)
        active_L = gradient_LP.abs().amax(1) > _GRADIENT_TOLERANCE
        if not active_L.any():
            break
        step_LP = torch.where(active_L[:, None], _newton_step(gradient_LP, hessian_LPP, free_LP), 0)
        w_LP, value_L, f_LN = _line_search(loss, w_LP, value_L, step_LP, (gradient_LP * step_LP).sum(1))
    return w_LP


def _newton_step(gradient_LP: Tensor, hessian_LPP: Tensor, free_LP: Tensor) -> Tensor:
    """-H⁻¹ g in the free weights, 0 in the others."""
    both_free_LPP = free_LP[:, :, None] & free_LP[:, None, :]
    hessian_LPP = torch.where(both_free_LPP, hessian_LPP, 0)
    hessian_LPP = hessian_LPP + torch.diag_embed((~free_LP).to(hessian_LPP.dtype))
    step_LP: Tensor = torch.linalg.solve(hessian_LPP, -gradient_LP)
    return step_LP


def _line_search(
    loss: _PenalisedCrossEntropy, w_LP: Tensor, value_L: Tensor, step_LP: Tensor, descent_L: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The next weights, their losses and log-odds: steps are halved until the loss falls enough."""
    length_L = torch.ones_like(value_L)
    for _ in range(_MAX_HALVINGS):
        trial_LP = w_LP + length_L[:, None] * step_LP
        trial_L, f_LN = loss.value(trial_LP)
        enough_L = trial_L <= value_L + _SUFFICIENT_DECREASE * length_L * descent_L + _ROUNDING
        if enough_L.all():
            return trial_LP, trial_L, f_LN
        length_L = torch.where(enough_L, length_L, length_L / 2)
    # A label whose loss cannot fall any more stays where it is.
    stay_LP = torch.where(enough_L[:, None], trial_LP, w_LP)
    return (stay_LP, *loss.value(stay_LP))
