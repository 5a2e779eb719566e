import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from mlc.calibration.shared_slope import MIN_TEACHERS, learn_slope_prior


def noisy_slopes(n: int, *, deviation: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    variance_L = torch.rand(n, generator=g, dtype=torch.float64) * 0.2 + 0.01
    true_L = 0.8 + deviation * torch.randn(n, generator=g, dtype=torch.float64)
    return true_L + variance_L.sqrt() * torch.randn(n, generator=g, dtype=torch.float64), variance_L


def test_agrees_with_scipy_on_the_marginal_likelihood() -> None:
    slope_L, variance_L = noisy_slopes(60, deviation=0.3, seed=0)
    a, v = slope_L.numpy(), variance_L.numpy()

    def nll(w):
        total = np.exp(2 * w[1]) + v
        return (np.log(total) + (a - w[0]) ** 2 / total).sum()

    best = minimize(nll, [0.5, -1.0], tol=1e-12).x
    prior = learn_slope_prior(slope_L, variance_L)
    assert prior is not None
    assert prior.mean == pytest.approx(best[0], abs=2e-3)
    assert prior.deviation == pytest.approx(np.exp(best[1]), rel=0.03)


def test_known_prior_comes_back_whatever_the_unit_of_the_scores() -> None:
    slope_L, variance_L = noisy_slopes(20_000, deviation=0.25, seed=1)
    for unit in (1e-25, 1.0, 1e25):
        prior = learn_slope_prior(slope_L * unit, variance_L * unit * unit)
        assert prior is not None
        assert prior.mean / unit == pytest.approx(0.8, abs=0.01)
        assert prior.deviation / unit == pytest.approx(0.25, rel=0.06)


def test_slopes_that_differ_by_their_errors_only_are_one_slope() -> None:
    slope_L, variance_L = noisy_slopes(3000, deviation=0.0, seed=2)
    prior = learn_slope_prior(slope_L, variance_L)
    assert prior is not None
    assert prior.deviation < 0.1


def test_too_few_labels_or_no_slopes_give_no_prior() -> None:
    slope_L, variance_L = noisy_slopes(MIN_TEACHERS, deviation=0.2, seed=3)
    assert learn_slope_prior(slope_L, variance_L) is not None
    assert learn_slope_prior(slope_L[1:], variance_L[1:]) is None
    assert learn_slope_prior(torch.zeros_like(slope_L), variance_L) is None
