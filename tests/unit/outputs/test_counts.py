import pytest
import torch
from scipy.stats import poisson

from mlc.outputs.base import NotDefinedError
from mlc.outputs.counts import PointCount, PoissonCount


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
