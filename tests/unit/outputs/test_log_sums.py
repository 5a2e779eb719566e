import math

import pytest
import torch

from mlc.outputs.log_sums import log_sum_where

INF = math.inf


def test_only_possible_terms_are_summed() -> None:
    terms_BK = torch.tensor([[0.1, 0.2, 0.4]]).log().expand(3, -1)
    possible_BK = torch.tensor([[True, True, True], [True, False, True], [False, True, False]])
    expected = [math.log(0.7), math.log(0.5), math.log(0.2)]
    assert log_sum_where(possible_BK, terms_BK).tolist() == pytest.approx(expected)


def test_one_possible_term_is_given_back_exactly() -> None:
    terms_BK = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)) * 100
    only_BK = torch.zeros(50, 4, dtype=torch.bool)
    only_BK[:, 2] = True
    assert torch.equal(log_sum_where(only_BK, terms_BK), terms_BK[:, 2])


def test_nothing_possible_is_minus_infinity_without_a_gradient() -> None:
    terms_BK = torch.tensor([[1.0, 2.0], [-INF, -INF], [0.0, -INF]], requires_grad=True)
    possible_BK = torch.tensor([[False, False], [True, True], [True, True]])
    sums_B = log_sum_where(possible_BK, terms_BK)
    assert sums_B.tolist() == [-INF, -INF, 0]
    sums_B.sum().backward()
    assert terms_BK.grad is not None
    assert terms_BK.grad.tolist() == [[0, 0], [0, 0], [1, 0]]


def test_a_broken_term_is_not_hidden() -> None:
    terms_BK = torch.tensor([[math.nan, 0.0], [math.nan, math.nan]])
    assert log_sum_where(torch.tensor([True, True]).expand(2, 2), terms_BK).isnan().all()


def test_gradient_by_finite_differences() -> None:
    terms_BK = torch.randn(
        4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    ).requires_grad_()
    possible_BK = torch.tensor([[True, True, True], [True, False, True], [False, True, False], [True] * 3])
    assert torch.autograd.gradcheck(lambda t: log_sum_where(possible_BK, t), terms_BK)
