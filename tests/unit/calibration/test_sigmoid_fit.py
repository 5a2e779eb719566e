import pytest
import torch
from scipy.optimize import minimize
from scipy.special import expit

from mlc.calibration.sigmoid_fit import fit_sigmoids, mean_cross_entropy


def sample(rows: int, n_labels: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    z_NL = torch.randn(rows, n_labels, generator=g, dtype=torch.float64)
    t_NL = torch.rand(rows, n_labels, generator=g, dtype=torch.float64) * 0.98 + 0.01
    return z_NL, t_NL


def test_cross_entropy_by_hand() -> None:
    z_NL, t_NL = torch.tensor([[1.0], [-2.0]]).double(), torch.tensor([[0.9], [0.2]]).double()
    p = [expit(2 * 1 + 0.5), expit(2 * -2 + 0.5)]
    expected = -(0.9 * torch.tensor(p[0]).log() + 0.1 * torch.tensor(1 - p[0]).log())
    expected += -(0.2 * torch.tensor(p[1]).log() + 0.8 * torch.tensor(1 - p[1]).log())
    actual = mean_cross_entropy(z_NL, t_NL, torch.tensor([2.0]).double(), torch.tensor([0.5]).double())
    assert actual.item() == pytest.approx(expected.item() / 2)


@pytest.mark.parametrize("start", [0.0, 30.0, -30.0])
def test_minimum_agrees_with_scipy_from_any_start(start: float) -> None:
    z_NL, t_NL = sample(50, 3, seed=0)
    start_L = torch.full((3,), start).double()
    a_L, b_L = fit_sigmoids(z_NL, t_NL, a_L=start_L, b_L=-start_L, free_L=torch.ones(3, dtype=torch.bool))
    for label in range(3):
        z, t = z_NL[:, label].numpy(), t_NL[:, label].numpy()

        def gradient(ab, z=z, t=t):
            residual = expit(ab[0] * z + ab[1]) - t
            return [(residual * z).mean(), residual.mean()]

        def loss(ab, z=z, t=t):
            p = torch.from_numpy(expit(ab[0] * z + ab[1]))
            return torch.nn.functional.binary_cross_entropy(p, torch.from_numpy(t)).item()

        best = minimize(loss, [0, 0], jac=gradient, options={"gtol": 1e-9}).x
        assert [a_L[label].item(), b_L[label].item()] == pytest.approx(best.tolist(), abs=1e-6)


def test_a_slope_that_is_not_free_stays_and_its_intercept_matches_the_mean() -> None:
    z_NL, t_NL = sample(50, 2, seed=1)
    a_L, b_L = fit_sigmoids(
        z_NL,
        t_NL,
        a_L=torch.tensor([3.0, 3.0]).double(),
        b_L=torch.zeros(2).double(),
        free_L=torch.tensor([False, True]),
    )
    assert a_L[0] == 3
    assert a_L[1] != 3
    torch.testing.assert_close(torch.sigmoid(a_L * z_NL + b_L).mean(0), t_NL.mean(0), rtol=1e-8, atol=0)


def test_labels_do_not_influence_one_another() -> None:
    z_NL, t_NL = sample(50, 2, seed=2)
    z_NL[:, 1] = 0  # does not vary: only its intercept can be fitted
    start_L, free_L = torch.zeros(2).double(), torch.ones(2, dtype=torch.bool)
    a_L, b_L = fit_sigmoids(z_NL, t_NL, a_L=start_L, b_L=start_L, free_L=free_L)
    alone = fit_sigmoids(z_NL[:, :1], t_NL[:, :1], a_L=start_L[:1], b_L=start_L[:1], free_L=free_L[:1])
    torch.testing.assert_close((a_L[:1], b_L[:1]), alone, rtol=1e-7, atol=1e-9)
    assert a_L[1] == 0
    assert b_L[1].item() == pytest.approx(torch.logit(t_NL[:, 1].mean()).item())
