import math
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor

from mlc.outputs.elementary_symmetric import (
    log_elementary_symmetric,
    prefix_log_sums,
    split_by_inclusion,
)


def log_weights(rows: int, n_labels: int, scale: float = 2.0, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(rows, n_labels, generator=g, dtype=torch.float64) * scale


def plain_recursion(log_w_BL: Tensor) -> Tensor:
    """e_0..e_L in float64 without logarithms: autograd differentiates it as it is."""
    e_BK = torch.nn.functional.pad(torch.ones_like(log_w_BL[:, :1]), (0, log_w_BL.shape[1]))
    for w_B1 in log_w_BL.exp().split(1, dim=1):
        e_BK = e_BK + w_B1 * torch.nn.functional.pad(e_BK[:, :-1], (1, 0))
    return e_BK


@pytest.mark.parametrize("n_labels", [1, 2, 6])
def test_is_the_sum_over_all_sets_of_a_size(n_labels: int) -> None:
    log_w_BL = log_weights(2, n_labels)
    for log_w_L, log_e_K in zip(log_w_BL, log_elementary_symmetric(log_w_BL, n_labels), strict=True):
        w = log_w_L.exp().tolist()
        expected = [sum(math.prod(s) for s in combinations(w, n)) for n in range(n_labels + 1)]
        np.testing.assert_allclose(log_e_K.exp(), expected, rtol=1e-12)


@pytest.mark.parametrize("n_labels", [1, 5, 40])
def test_are_the_coefficients_of_a_polynomial(n_labels: int) -> None:
    # Π (x + w_l) = Σ_n e_n x^(L-n).
    log_w_1L = log_weights(1, n_labels, scale=0.5)
    expected = np.poly(-log_w_1L[0].exp().numpy())
    np.testing.assert_allclose(log_elementary_symmetric(log_w_1L, n_labels)[0].exp(), expected, rtol=1e-10)


@pytest.mark.parametrize("max_count", [0, 1, 3, 7])
def test_a_cap_leaves_the_others_as_they_are(max_count: int) -> None:
    log_w_BL = log_weights(3, 7)
    capped_BK = log_elementary_symmetric(log_w_BL, max_count)
    torch.testing.assert_close(capped_BK, log_elementary_symmetric(log_w_BL, 7)[:, : max_count + 1])


@pytest.mark.parametrize("max_count", [1, 3, 5])
def test_gradient_by_finite_differences(max_count: int) -> None:
    log_w_BL = log_weights(3, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: log_elementary_symmetric(z, max_count), log_w_BL)


@pytest.mark.parametrize("n_labels", [1, 6, 30])
def test_gradient_equals_autograd_of_the_plain_recursion(n_labels: int) -> None:
    log_w_BL = log_weights(4, n_labels).requires_grad_()
    grad_BK = log_weights(4, n_labels + 1, seed=1)
    (expected,) = torch.autograd.grad((plain_recursion(log_w_BL).log() * grad_BK).sum(), log_w_BL)
    (found,) = torch.autograd.grad((log_elementary_symmetric(log_w_BL, n_labels) * grad_BK).sum(), log_w_BL)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


def test_second_derivative_by_finite_differences() -> None:
    log_w_BL = log_weights(2, 4).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda z: log_elementary_symmetric(z, 3), log_w_BL)


def test_inclusion_given_a_count_sums_to_that_count() -> None:
    log_w_BL = log_weights(3, 9, scale=10)
    for n in range(10):
        mass_BK = torch.zeros(3, 10, dtype=torch.float64)
        mass_BK[:, n] = 1
        with_BL, without_BL = split_by_inclusion(prefix_log_sums(log_w_BL, 9), log_w_BL, mass_BK)
        torch.testing.assert_close(with_BL.sum(1), torch.full((3,), float(n)).double())
        torch.testing.assert_close(with_BL + without_BL, torch.ones(3, 9).double())


def test_equal_weights_give_binomial_coefficients_and_equal_inclusion() -> None:
    log_w_BL = torch.full((1, 1000), 0.75, dtype=torch.float64, requires_grad=True)
    log_e_BK = log_elementary_symmetric(log_w_BL, 1000)
    n_K = torch.arange(1001, dtype=torch.float64)
    log_choose_K = math.lgamma(1001) - torch.lgamma(n_K + 1) - torch.lgamma(1001 - n_K)
    torch.testing.assert_close(log_e_BK[0].detach(), log_choose_K + 0.75 * n_K, rtol=1e-12, atol=1e-9)
    log_e_BK[0, 300].backward()
    assert log_w_BL.grad is not None
    torch.testing.assert_close(
        log_w_BL.grad, torch.full((1, 1000), 0.3, dtype=torch.float64), rtol=1e-10, atol=0
    )


def test_extreme_weights_leave_no_choice() -> None:
    # 4 weights of e^50 among weights of e^-50: sets of 4 are those, sets of 5 add any one of the others.
    log_w_BL = torch.full((1, 12), -50.0, dtype=torch.float64)
    log_w_BL[0, [1, 4, 6, 11]] = 50
    log_w_BL.requires_grad_()
    log_e_BK = log_elementary_symmetric(log_w_BL, 12)
    assert log_e_BK[0, 4].item() == pytest.approx(200, abs=1e-12)
    assert log_e_BK[0, 5].item() == pytest.approx(150 + math.log(8), abs=1e-12)
    log_e_BK[0, 5].backward()
    assert log_w_BL.grad is not None
    torch.testing.assert_close(log_w_BL.grad, torch.where(log_w_BL.detach() > 0, 1, 1 / 8).double())
