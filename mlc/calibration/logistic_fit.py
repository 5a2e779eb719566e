"""Logistic regression on a few features per label, for all labels at once."""

import torch
from torch import Tensor
from torch.nn import functional as F

from mlc.calibration.examples import means

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
    weight_NL: Tensor | None = None,
    prior_precision_LP: Tensor | None = None,
) -> Tensor:
    """Minimise each label's mean cross-entropy of σ(b + Σ_p w_p x_p) against targets t, by damped Newton.

    Args:
        features: P-1 tensors N×L in float64, best of mean 0 and standard deviation 1 for each label.
        t_NL: float64 targets in [0, 1].
        start_LP: where to start; the last of the P weights is the intercept b.
        free_LP: weights that may move; the others stay where they start.
        weight_NL: how many examples each cell counts for; None where all are 1.
        prior_precision_LP: of a Gaussian prior around the start, as the precision of examples counts; None
            for no prior.

    Returns:
        The weights, L×P.
    """
    fits = []
    for labels in _label_blocks(t_NL):
        prior_LP = None if prior_precision_LP is None else prior_precision_LP[labels]
        loss = _PenalisedCrossEntropy(
            *_columns(features, t_NL, weight_NL, labels), centre_LP=start_LP[labels], precision_LP=prior_LP
        )
        fits.append(_minimise(loss, start_LP[labels], free_LP[labels]))
    return torch.cat(fits)


def information(
    features: tuple[Tensor, ...], t_NL: Tensor, w_LP: Tensor, *, weight_NL: Tensor | None = None
) -> Tensor:
    """L×P×P Fisher information of the weights: the Hessian of each label's summed cross-entropy."""
    parts = []
    for labels in _label_blocks(t_NL):
        columns = _columns(features, t_NL, weight_NL, labels)
        loss = _PenalisedCrossEntropy(*columns, centre_LP=w_LP[labels], precision_LP=None)
        hessian_LPP = loss.derivatives(w_LP[labels], loss.value(w_LP[labels])[1])[1]
        parts.append(hessian_LPP * loss.size_L[:, None, None])
    return torch.cat(parts)


def mean_cross_entropy(
    features: tuple[Tensor, ...], t_NL: Tensor, w_LP: Tensor, weight_NL: Tensor | None = None
) -> Tensor:
    """L mean cross-entropies in nats."""
    f_NL = w_LP[:, -1] + sum(w_L * x_NL for w_L, x_NL in zip(w_LP.T, features, strict=False))
    return means(F.binary_cross_entropy_with_logits(f_NL, t_NL, reduction="none"), weight_NL)


def _label_blocks(t_NL: Tensor) -> list[slice]:
    step = max(1, _BLOCK_CELLS // len(t_NL))
    return [slice(low, low + step) for low in range(0, t_NL.shape[1], step)]


def _columns(
    features: tuple[Tensor, ...], t_NL: Tensor, weight_NL: Tensor | None, labels: slice
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Features L×P×N with the constant last, targets L×N and weights L×N of some labels."""
    columns = [x_NL[:, labels] for x_NL in features]
    x_LPN = torch.stack([*columns, torch.ones_like(t_NL[:, labels])]).permute(2, 0, 1).contiguous()
    weight_LN = None if weight_NL is None else weight_NL[:, labels].T.contiguous()
    return x_LPN, t_NL[:, labels].T.contiguous(), weight_LN


class _PenalisedCrossEntropy:
    """The loss of some labels, with what one pass over their examples tells about it."""

    def __init__(
        self,
        x_LPN: Tensor,
        t_LN: Tensor,
        weight_LN: Tensor | None,
        *,
        centre_LP: Tensor,
        precision_LP: Tensor | None,
    ):
        self.x_LPN, self.t_LN, self.weight_LN, self.centre_LP = x_LPN, t_LN, weight_LN, centre_LP
        size_L = t_LN.new_full((len(t_LN),), t_LN.shape[1]) if weight_LN is None else weight_LN.sum(1)
        self.size_L = torch.where(size_L > 0, size_L, 1)
        zero_LP = torch.zeros_like(centre_LP)
        # The loss is a mean, and so is the prior's part.
        self.precision_LP = zero_LP if precision_LP is None else precision_LP / self.size_L[:, None]
        self.curvature_LPP = torch.diag_embed(self.precision_LP + _RIDGE)

    def value(self, w_LP: Tensor) -> tuple[Tensor, Tensor]:
        """L losses, and the L×N log-odds f they were computed from."""
        f_LN = torch.bmm(w_LP[:, None], self.x_LPN).squeeze(1)
        # log(1 + e^f) - t f, with the exponential of -|f| alone, so that nothing overflows.
        entropy_LN = (F.relu(f_LN) + torch.log1p(torch.exp(-f_LN.abs()))).sub_(self.t_LN * f_LN)
        if self.weight_LN is not None:
            entropy_LN.mul_(self.weight_LN)
        penalty_L = (self.precision_LP * (w_LP - self.centre_LP).square()).sum(1) / 2
        return entropy_LN.sum(1) / self.size_L + penalty_L, f_LN

    def derivatives(self, w_LP: Tensor, f_LN: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient L×P and Hessian L×P×P of `value`."""
        p_LN = torch.sigmoid(f_LN)
        residual_LN, spread_LN = p_LN - self.t_LN, p_LN * (1 - p_LN)
        if self.weight_LN is not None:
            residual_LN, spread_LN = residual_LN * self.weight_LN, spread_LN * self.weight_LN
        gradient_LP = torch.bmm(self.x_LPN, residual_LN[:, :, None]).squeeze(2) / self.size_L[:, None]
        hessian_LPP = torch.bmm(self.x_LPN * spread_LN[:, None], self.x_LPN.mT) / self.size_L[:, None, None]
        return gradient_LP + self.precision_LP * (w_LP - self.centre_LP), hessian_LPP + self.curvature_LPP


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
