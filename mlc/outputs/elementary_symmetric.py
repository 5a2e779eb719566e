"""Elementary symmetric polynomials of label weights, in log space, with a backward pass of their own.

e_n(w) is the sum over all label sets of n labels of the product of their weights: the normaliser of a
distribution over the sets of one size.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

# The log of 0 here: unlike -inf, differences of two of them, and their gradients, are numbers.
LOG_ZERO = -1e30


def prefix_log_sums(log_w_BL: Tensor, max_count: int) -> list[Tensor]:
    """L+1 tensors B×(K+1): log e_0..e_K of the first 0, 1, ..., L weights.

    One label at a time, e_n(w_1..w_l) = e_n(w_1..w_l-1) + w_l e_n-1(w_1..w_l-1): every term is positive, so
    nothing cancels. LOG_ZERO where n is beyond the number of weights. O(L·K) time and memory per row.
    """
    sums = [F.pad(torch.zeros_like(log_w_BL[:, :1]), (0, max_count), value=LOG_ZERO)]
    for log_w_B1 in torch.split(log_w_BL, 1, dim=1):
        with_label_BK = F.pad(sums[-1][:, :-1] + log_w_B1, (1, 0), value=LOG_ZERO)
        sums.append(torch.logaddexp(sums[-1], with_label_BK))
    return sums


def split_by_inclusion(sums: Sequence[Tensor], log_w_BL: Tensor, mass_BK: Tensor) -> tuple[Tensor, Tensor]:
    """Split a mass on set sizes into what falls on sets with each label, and on sets without it.

    Given n, P(y_l = 1 | Σy = n) = ∂ log e_n / ∂ log w_l. The mass walks back through the recursion of
    `prefix_log_sums`: at each label, the sets of n labels divide into those that took it and the others. So
    for a mass P(n) the result is the marginals, and for a gradient on log e_n the gradient on log w.

    Args:
        sums: `prefix_log_sums` of the weights.
        log_w_BL: log weights.
        mass_BK: a number for each n = 0..K, of any sign.

    Returns:
        With and without, both B×L; for each label they add up to the mass of the row.
    """
    with_label, without_label = [], []
    for before_BK, after_BK, log_w_B1 in zip(
        sums[-2::-1], sums[:0:-1], reversed(torch.split(log_w_BL, 1, dim=1)), strict=True
    ):
        stays_BK = mass_BK * (before_BK - after_BK).exp()
        takes_BK = mass_BK[:, 1:] * (before_BK[:, :-1] + log_w_B1 - after_BK[:, 1:]).exp()
        with_label.append(takes_BK.sum(1))
        without_label.append(stays_BK.sum(1))
        mass_BK = stays_BK + F.pad(takes_BK, (0, 1))
    return torch.stack(with_label[::-1], dim=1), torch.stack(without_label[::-1], dim=1)


class _LogElementarySymmetric(torch.autograd.Function):
    """log e_0..e_K; the backward pass reuses the sums of the forward pass and needs no graph of its steps."""

    @staticmethod
    def forward(ctx: Any, log_w_BL: Tensor, max_count: int) -> Tensor:
        sums = prefix_log_sums(log_w_BL, max_count)
        ctx.save_for_backward(log_w_BL, *sums)
        return sums[-1].clone()

    @staticmethod
    def backward(ctx: Any, grad_BK: Tensor) -> tuple[Tensor, None]:
        log_w_BL, *sums = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted, and the kept sums have no history
            sums = prefix_log_sums(log_w_BL, grad_BK.shape[1] - 1)
        return split_by_inclusion(sums, log_w_BL, grad_BK)[0], None


def log_elementary_symmetric(log_w_BL: Tensor, max_count: int) -> Tensor:
    """B×(K+1) values log e_n(w), n = 0..K.

    Args:
        log_w_BL: log weights. In float32 the sums lose digits as L grows: give float64.
        max_count: K <= L. Time and memory are O(L·K) per row; the backward pass needs no more.

    Source: Chen, Dempster & Liu (1994), "Weighted finite population sampling to maximize entropy", method 1.
    """
    result: Tensor = _LogElementarySymmetric.apply(log_w_BL, max_count)  # type: ignore[no-untyped-call]
    return result
