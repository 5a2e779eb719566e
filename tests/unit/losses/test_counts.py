import math

import numpy as np
import pytest
import torch
from scipy.stats import dirichlet, nbinom, poisson
from torch import Tensor

from mlc.losses.counts import categorical_map, negative_binomial_nll, poisson_nll
from mlc.outputs.counts import CategoricalCount, NegativeBinomialCount

N = torch.tensor([0.0, 1.0, 4.0, 20.0], dtype=torch.float64)


def test_poisson_nll_keeps_its_constant() -> None:
    log_rate_B = torch.tensor([0.5, -2.0, 1.0, 3.0], dtype=torch.float64)
    expected = -poisson(log_rate_B.exp().numpy()).logpmf(N.numpy())
    np.testing.assert_allclose(poisson_nll(log_rate_B, N), expected, rtol=1e-12)


@pytest.mark.parametrize("size", [0.05, 1.0, 12.0, 1e5])
def test_negative_binomial_nll_equals_scipy(size: float) -> None:
    mean = np.array([0.5, 1e-3, 4.0, 33.0])
    count = NegativeBinomialCount(torch.from_numpy(mean).log(), torch.full((4,), math.log(size)).double())
    expected = -nbinom(size, size / (size + mean)).logpmf(N.numpy())
    np.testing.assert_allclose(negative_binomial_nll(count, N, max_count=25), expected, rtol=1e-6)


@pytest.mark.parametrize("log_size", [14.0, 40.0, 200.0, 1e4])
def test_negative_binomial_nll_of_a_large_size_is_poissons_in_float32(log_size: float) -> None:
    log_mean_B, n_B = torch.tensor([-2.0, 0.0, 1.5, 3.0]), N.float()
    raw = torch.stack((log_mean_B, torch.full((4,), log_size))).requires_grad_()
    nll_B = negative_binomial_nll(NegativeBinomialCount(raw[0], raw[1]), n_B, max_count=20)
    torch.testing.assert_close(nll_B, poisson_nll(log_mean_B, n_B), rtol=1e-4, atol=1e-4)
    nll_B.sum().backward()
    assert raw.grad is not None
    torch.testing.assert_close(raw.grad[0], log_mean_B.exp() - n_B, rtol=1e-3, atol=1e-3)
    assert raw.grad[1].abs().max() < 1e-3


def test_negative_binomial_nll_by_finite_differences() -> None:
    raw = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)

    def nll(raw: Tensor) -> Tensor:
        return negative_binomial_nll(NegativeBinomialCount(raw[0], raw[1]), N, max_count=20)

    assert torch.autograd.gradcheck(nll, raw)


def test_categorical_map_is_the_posterior_under_a_dirichlet_prior() -> None:
    # Up to the constant of the prior: log π_n + log Dirichlet(π; 1 + λa).
    prior_K, weight = np.array([0.1, 0.6, 0.3]), 2.5
    p_BK = np.array([[0.2, 0.5, 0.3], [0.7, 0.1, 0.2]])
    count = CategoricalCount(torch.from_numpy(np.log(p_BK)) + 3)
    n_B = torch.tensor([1.0, 2.0]).double()
    found = categorical_map(count, n_B, prior_K=torch.from_numpy(prior_K), prior_weight=weight)
    constant = dirichlet.logpdf(np.full(3, 1 / 3), 1 + weight * prior_K) - weight * np.log(1 / 3)
    log_prior = np.array([dirichlet.logpdf(p, 1 + weight * prior_K) for p in p_BK]) - constant
    np.testing.assert_allclose(found, -(np.log([0.5, 0.2]) + log_prior), rtol=1e-10)


def test_a_count_that_is_impossible_has_no_likelihood_term() -> None:
    logits_BK = torch.zeros(2, 3, requires_grad=True)
    prior_K = torch.tensor([0.5, 0.25, 0.25])
    value_B = categorical_map(
        CategoricalCount(logits_BK), torch.tensor([3.0, 1.0]), prior_K=prior_K, prior_weight=0.1
    )
    assert value_B.tolist() == pytest.approx([0.1 * math.log(3), 1.1 * math.log(3)])
    categorical_map(
        CategoricalCount(logits_BK), torch.tensor([3.0, 1.0]), prior_K=prior_K, prior_weight=0.0
    ).sum().backward()
    assert logits_BK.grad is not None
    assert not logits_BK.grad[0].any()
    assert logits_BK.grad[1].any()
