import pytest
import torch
from scipy.optimize import minimize
from scipy.special import expit
from torch import Tensor

from mlc.calibration import logistic_fit
from mlc.calibration.logistic_fit import fit_logistic, information, mean_cross_entropy


def sample(rows: int, n_labels: int, n_features: int, seed: int) -> tuple[tuple[Tensor, ...], Tensor]:
    g = torch.Generator().manual_seed(seed)
    x_PNL = torch.randn(n_features, rows, n_labels, generator=g, dtype=torch.float64)
    t_NL = torch.rand(rows, n_labels, generator=g, dtype=torch.float64) * 0.98 + 0.01
    return tuple(x_PNL), t_NL


def all_free(start_LP: Tensor) -> Tensor:
    return torch.ones_like(start_LP, dtype=torch.bool)


def best_by_scipy(x_NP, t_N, *, centre=0.0, precision=0.0):
    def loss(w):
        f = x_NP @ w[:-1] + w[-1]
        p = torch.from_numpy(expit(f))
        entropy = torch.nn.functional.binary_cross_entropy(p, torch.from_numpy(t_N), reduction="sum")
        return entropy.item() + precision / 2 * ((w - centre) ** 2).sum()

    def gradient(w):
        residual = expit(x_NP @ w[:-1] + w[-1]) - t_N
        return [*(residual @ x_NP), residual.sum()] + precision * (w - centre)

    return minimize(loss, [0.0] * (x_NP.shape[1] + 1), jac=gradient, options={"gtol": 1e-8}).x


def test_cross_entropy_by_hand() -> None:
    z_NL, t_NL = torch.tensor([[1.0], [-2.0]]).double(), torch.tensor([[0.9], [0.2]]).double()
    p = [expit(2 * 1 + 0.5), expit(2 * -2 + 0.5)]
    expected = -(0.9 * torch.tensor(p[0]).log() + 0.1 * torch.tensor(1 - p[0]).log())
    expected += -(0.2 * torch.tensor(p[1]).log() + 0.8 * torch.tensor(1 - p[1]).log())
    actual = mean_cross_entropy((z_NL,), t_NL, torch.tensor([[2.0, 0.5]]).double())
    assert actual.item() == pytest.approx(expected.item() / 2)


@pytest.mark.parametrize("n_features", [1, 2])
@pytest.mark.parametrize("start", [0.0, 30.0, -30.0])
def test_minimum_agrees_with_scipy_from_any_start(start: float, n_features: int) -> None:
    features, t_NL = sample(50, 3, n_features, seed=0)
    start_LP = torch.full((3, n_features + 1), start).double()
    start_LP[:, -1] = -start
    w_LP = fit_logistic(features, t_NL, start_LP=start_LP, free_LP=all_free(start_LP))
    for label in range(3):
        x_NP = torch.stack([x_NL[:, label] for x_NL in features], dim=1).numpy()
        expected = best_by_scipy(x_NP, t_NL[:, label].numpy())
        assert w_LP[label].tolist() == pytest.approx(expected.tolist(), abs=1e-6)


@pytest.mark.parametrize("precision", [0.1, 5.0])
def test_the_prior_pulls_to_the_start_as_scipy_says(precision: float) -> None:
    features, t_NL = sample(30, 2, 1, seed=3)
    start_LP = torch.tensor([[2.0, -1.0], [0.5, 3.0]]).double()
    w_LP = fit_logistic(
        features,
        t_NL,
        start_LP=start_LP,
        free_LP=all_free(start_LP),
        prior_precision_LP=torch.full_like(start_LP, precision),
    )
    for label in range(2):
        expected = best_by_scipy(
            features[0][:, [label]].numpy(),
            t_NL[:, label].numpy(),
            centre=start_LP[label].numpy(),
            precision=precision,
        )
        assert w_LP[label].tolist() == pytest.approx(expected.tolist(), abs=1e-6)


def test_a_weight_of_k_is_k_examples_for_fit_loss_and_information() -> None:
    features, t_NL = sample(40, 2, 2, seed=5)
    k_N = torch.arange(40) % 4
    *again, t_again_NL = (x_NL.repeat_interleave(k_N, dim=0) for x_NL in (*features, t_NL))
    weight_NL = k_N.double()[:, None].expand(40, 2)
    start_LP = torch.ones(2, 3).double()
    precision_LP = torch.tensor([[0.5, 0.0, 2.0]]).double().expand(2, 3)
    options = {"start_LP": start_LP, "free_LP": all_free(start_LP), "prior_precision_LP": precision_LP}
    w_LP = fit_logistic(features, t_NL, weight_NL=weight_NL, **options)
    torch.testing.assert_close(w_LP, fit_logistic(tuple(again), t_again_NL, **options), rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(
        mean_cross_entropy(features, t_NL, w_LP, weight_NL),
        mean_cross_entropy(tuple(again), t_again_NL, w_LP),
    )
    torch.testing.assert_close(
        information(features, t_NL, w_LP, weight_NL=weight_NL), information(tuple(again), t_again_NL, w_LP)
    )


def test_information_is_the_second_derivative_of_the_summed_loss() -> None:
    features, t_NL = sample(30, 2, 2, seed=6)
    w_LP = torch.tensor([[0.5, -1.0, 0.3], [2.0, 0.1, -1.0]]).double()
    information_LPP = information(features, t_NL, w_LP)
    for label in range(2):
        columns = tuple(x_NL[:, [label]] for x_NL in features)
        expected_PP = torch.autograd.functional.hessian(
            lambda w_P, c=columns, t=t_NL[:, [label]]: 30 * mean_cross_entropy(c, t, w_P[None]).sum(),
            w_LP[label],
        )
        torch.testing.assert_close(information_LPP[label], expected_PP)


def test_a_slope_that_is_not_free_stays_and_its_intercept_matches_the_mean() -> None:
    (z_NL,), t_NL = sample(50, 2, 1, seed=1)
    start_LP = torch.tensor([[3.0, 0.0], [3.0, 0.0]]).double()
    free_LP = torch.tensor([[False, True], [True, True]])
    w_LP = fit_logistic((z_NL,), t_NL, start_LP=start_LP, free_LP=free_LP)
    assert w_LP[0, 0] == 3
    assert w_LP[1, 0] != 3
    mean_L = torch.sigmoid(w_LP[:, 0] * z_NL + w_LP[:, 1]).mean(0)
    torch.testing.assert_close(mean_L, t_NL.mean(0), rtol=1e-8, atol=0)


def test_labels_do_not_influence_one_another() -> None:
    (z_NL,), t_NL = sample(50, 2, 1, seed=2)
    z_NL[:, 1] = 0  # does not vary: only its intercept can be fitted
    start_LP = torch.zeros(2, 2).double()
    w_LP = fit_logistic((z_NL,), t_NL, start_LP=start_LP, free_LP=all_free(start_LP))
    alone_LP = fit_logistic(
        (z_NL[:, :1],), t_NL[:, :1], start_LP=start_LP[:1], free_LP=all_free(start_LP[:1])
    )
    torch.testing.assert_close(w_LP[:1], alone_LP, rtol=1e-7, atol=1e-9)
    assert w_LP[1, 0] == 0
    assert w_LP[1, 1].item() == pytest.approx(torch.logit(t_NL[:, 1].mean()).item())


def test_blocks_of_labels_give_the_same_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    features, t_NL = sample(40, 5, 2, seed=4)
    start_LP = torch.zeros(5, 3).double()
    whole_LP = fit_logistic(features, t_NL, start_LP=start_LP, free_LP=all_free(start_LP))
    monkeypatch.setattr(logistic_fit, "_BLOCK_CELLS", 80)
    blocks_LP = fit_logistic(features, t_NL, start_LP=start_LP, free_LP=all_free(start_LP))
    torch.testing.assert_close(blocks_LP, whole_LP, rtol=1e-9, atol=1e-9)
