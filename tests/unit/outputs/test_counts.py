import math

import pytest
import torch
from scipy.stats import nbinom, poisson

from mlc.outputs.base import NotDefinedError
from mlc.outputs.counts import CategoricalCount, NegativeBinomialCount, PointCount, PoissonCount


@pytest.mark.parametrize("n_labels", [1, 5, 200])
@pytest.mark.parametrize("rate", [1e-6, 0.5, 3, 150])
def test_poisson_agrees_with_scipy_renormalised(rate: float, n_labels: int) -> None:
    count = PoissonCount(torch.tensor([rate], dtype=torch.float64).log())
    expected = torch.from_numpy(poisson(rate).pmf(range(n_labels + 1)))
    expected = expected / expected.sum()
    torch.testing.assert_close(count.pmf(n_labels), expected[None], rtol=1e-9, atol=1e-300)
    assert count.mean().item() == pytest.approx(rate)
    assert count.log_mean().exp().item() == pytest.approx(rate)


@pytest.mark.parametrize("log_rate", [-1e4, -50, 50, 80, 1e4])
def test_extreme_rates_give_a_distribution(log_rate: float) -> None:
    pmf_K = PoissonCount(torch.tensor([log_rate])).pmf(20)[0]
    assert pmf_K.sum().item() == pytest.approx(1)
    assert pmf_K.argmax() == (20 if log_rate > 0 else 0)


def test_a_point_has_a_mean_and_no_distribution() -> None:
    count = PointCount(torch.tensor([0.01, 3.7]))
    assert torch.equal(count.mean(), torch.tensor([0.01, 3.7]))
    torch.testing.assert_close(count.log_mean().exp(), count.mean())
    with pytest.raises(NotDefinedError, match=r"PointCount has no distribution: .*head=factorised_poisson"):
        count.pmf(3)


@pytest.mark.parametrize("n_labels", [1, 5, 200])
@pytest.mark.parametrize("mean", [1e-4, 0.5, 3, 150])
@pytest.mark.parametrize("size", [0.01, 1, 7.5, 1e4])
def test_negative_binomial_agrees_with_scipy_renormalised(mean: float, size: float, n_labels: int) -> None:
    log_mean_B, log_size_B = torch.tensor([[mean], [size]], dtype=torch.float64).log()
    count = NegativeBinomialCount(log_mean_B, log_size_B)
    expected = torch.from_numpy(nbinom(size, size / (size + mean)).pmf(range(n_labels + 1)))
    expected = expected / expected.sum()
    torch.testing.assert_close(count.pmf(n_labels), expected[None], rtol=1e-5, atol=1e-300)
    assert count.mean().item() == pytest.approx(mean)
    assert count.log_mean().exp().item() == pytest.approx(mean)


@pytest.mark.parametrize("log_size", [12.0, 30.0, 1e4])
def test_negative_binomial_of_a_large_size_is_poisson_in_float32(log_size: float) -> None:
    # Differences of lgamma would have lost every digit here.
    log_mean_B = torch.tensor([-3.0, 0.5, 2.5])
    count = NegativeBinomialCount(log_mean_B, torch.full((3,), log_size))
    torch.testing.assert_close(count.pmf(40), PoissonCount(log_mean_B).pmf(40), rtol=0, atol=2e-5)


@pytest.mark.parametrize("log_mean", [-1e4, -50.0, 50.0, 1e4])
@pytest.mark.parametrize("log_size", [-50.0, 0.0, 50.0])
def test_extreme_negative_binomials_give_a_distribution_and_gradients(
    log_mean: float, log_size: float
) -> None:
    raw = torch.tensor([[log_mean], [log_size]], requires_grad=True)
    pmf_BK = NegativeBinomialCount(raw[0], raw[1]).pmf(20)
    assert pmf_BK.sum().item() == pytest.approx(1)
    (pmf_BK[0, 3] + pmf_BK[0, 0]).backward()
    assert raw.grad is not None
    assert raw.grad.isfinite().all()


def test_categorical_by_hand() -> None:
    count = CategoricalCount(torch.tensor([[0.2, 0.5, 0.3], [0.0, 0.0, 1.0]]).log())
    assert count.mean().tolist() == pytest.approx([1.1, 2])
    assert count.log_mean().exp().tolist() == pytest.approx([1.1, 2])
    torch.testing.assert_close(count.pmf(4), torch.tensor([[0.2, 0.5, 0.3, 0, 0], [0, 0, 1, 0, 0]]))
    torch.testing.assert_close(count.log_pmf(4)[0].exp(), torch.tensor([0.2, 0.5, 0.3]))


def test_log_mean_of_a_categorical_stays_finite_where_every_row_is_empty() -> None:
    count = CategoricalCount(torch.tensor([[500.0, 0.0, 0.0]]))
    assert count.log_mean().item() == pytest.approx(math.log(3) - 500)


def test_log_probabilities_of_a_count_are_the_logits_of_a_categorical() -> None:
    cut = CategoricalCount(PoissonCount(torch.tensor([0.7])).log_pmf(3))
    expected = poisson(math.exp(0.7)).pmf(range(4))
    assert cut.pmf(6)[0].tolist() == pytest.approx([*(expected / expected.sum()), 0, 0, 0])
