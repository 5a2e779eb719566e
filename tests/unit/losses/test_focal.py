import math

import numpy as np
import pytest
import torch
from scipy.special import expit, logit

from mlc.losses.base import PairingError
from mlc.losses.focal import FocalLoss, log_focal_pull
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.shares import LabelShares
from tests.unit.losses.checks import (
    P_GRID,
    assert_finite_at_extremes,
    assert_gradient_by_finite_differences,
    gradient,
    losses,
    random_rows,
)
from tests.unit.losses.expected import optimal_logits

LOSS = FocalLoss(gamma=2.0, alpha=0.25)
SETTINGS = pytest.mark.parametrize(
    ("gamma", "alpha"), [(0.0, 0.5), (0.5, 0.5), (1.0, 0.25), (2.0, 0.25), (2.0, 0.9), (5.0, 0.5)]
)


def written_out(z: np.ndarray, y: np.ndarray, gamma: float, alpha: float) -> np.ndarray:
    """Lin et al. 2017, eq. 5: p_t and α_t as they define them."""
    p = expit(z)
    p_t = np.where(y == 1, p, 1 - p)
    alpha_t = np.where(y == 1, alpha, 1 - alpha)
    total: np.ndarray = (-alpha_t * (1 - p_t) ** gamma * np.log(p_t)).sum(1)
    return total


def linked_p(loss: FocalLoss, z: np.ndarray, dtype: torch.dtype = torch.float64) -> np.ndarray:
    p: np.ndarray = loss.link(IndependentLabels(torch.tensor(z, dtype=dtype)[None])).marginals()[0].numpy()
    return p


def test_hand_value() -> None:
    # σ(log 3) = ¾: .25 (1/4)² log(4/3) for the true label, .75 (3/4)² log 4 for the false one.
    z = np.array([[math.log(3), math.log(3)]])
    expected = 0.25 / 16 * math.log(4 / 3) + 0.75 * 9 / 16 * math.log(4)
    assert losses(LOSS, z, np.array([[1.0, 0.0]])).item() == pytest.approx(expected, rel=1e-12)


@SETTINGS
def test_equals_the_written_out_formula(gamma: float, alpha: float) -> None:
    z, y = random_rows()
    actual = losses(FocalLoss(gamma=gamma, alpha=alpha), z, y)
    np.testing.assert_allclose(actual, written_out(z, y, gamma, alpha), rtol=1e-9)


def test_without_focus_it_is_half_the_cross_entropy() -> None:
    z, y = random_rows()
    cross_entropy = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.from_numpy(z), torch.from_numpy(y), reduction="none"
    ).sum(1)
    np.testing.assert_allclose(losses(FocalLoss(gamma=0.0, alpha=0.5), z, y), cross_entropy / 2, rtol=1e-12)


@SETTINGS
def test_gradient_by_finite_differences(gamma: float, alpha: float) -> None:
    assert_gradient_by_finite_differences(FocalLoss(gamma=gamma, alpha=alpha))


@SETTINGS
def test_extreme_logits_stay_finite(gamma: float, alpha: float) -> None:
    assert_finite_at_extremes(FocalLoss(gamma=gamma, alpha=alpha))


def test_a_confident_mistake_costs_its_logit_and_what_is_right_costs_nothing() -> None:
    loss_B, grad_BL = gradient(LOSS, torch.tensor([[-1e4, 1e4]]), torch.ones(1, 2))
    assert loss_B.item() == pytest.approx(2500)
    assert grad_BL[0].tolist() == [-0.25, 0]


def test_the_pull_is_the_slope_of_the_cost_of_a_true_label() -> None:
    z = np.linspace(-30, 30, 61)
    for gamma in (0.5, 2.0):

        def cost(z: np.ndarray, gamma: float = gamma) -> np.ndarray:
            nll: np.ndarray = np.exp(-gamma * np.logaddexp(0, z)) * np.logaddexp(0, -z)
            return nll

        step = 1e-4
        slope = (cost(z - step) - cost(z + step)) / (2 * step)
        pull = log_focal_pull(torch.from_numpy(z), gamma).exp().numpy()
        np.testing.assert_allclose(pull, slope, rtol=1e-5)


@SETTINGS
def test_link_returns_the_probability_that_the_loss_was_trained_on(gamma: float, alpha: float) -> None:
    loss = FocalLoss(gamma=gamma, alpha=alpha)
    linked = loss.link(IndependentLabels(optimal_logits(loss, P_GRID)))
    assert isinstance(linked, IndependentLabels)
    assert linked.marginals()[0].tolist() == pytest.approx(P_GRID, rel=2e-4)


def test_without_the_link_focus_and_weight_distort() -> None:
    # Guards the test above.
    assert optimal_logits(FocalLoss(gamma=2.0, alpha=0.5), [0.95]).sigmoid().item() < 0.85
    assert optimal_logits(LOSS, [0.5]).sigmoid().item() < 0.4


def test_link_of_plain_cross_entropy_changes_nothing() -> None:
    z = np.linspace(-30, 30, 121)
    linked = FocalLoss(gamma=0.0, alpha=0.5).link(IndependentLabels(torch.from_numpy(z)[None]))
    np.testing.assert_allclose(linked.score_logits()[0], z, atol=1e-12)


def test_link_equals_the_published_transformation() -> None:
    # Charoenphakdee et al. 2021 for two classes and α = ½: Ψ(q) = h(q) / (h(q) + h(1 - q)).
    def h(q: np.ndarray, gamma: float) -> np.ndarray:
        value: np.ndarray = q / ((1 - q) ** gamma - gamma * (1 - q) ** (gamma - 1) * q * np.log(q))
        return value

    q = np.linspace(0.01, 0.99, 99)
    for gamma in (1.0, 2.0, 3.5):
        expected = h(q, gamma) / (h(q, gamma) + h(1 - q, gamma))
        actual = linked_p(FocalLoss(gamma=gamma, alpha=0.5), logit(q))
        np.testing.assert_allclose(actual, expected, rtol=1e-9)


@SETTINGS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_link_keeps_the_ranking(gamma: float, alpha: float, dtype: torch.dtype) -> None:
    z_BL = torch.arange(-150, 150, 0.5, dtype=dtype)[None]
    linked = FocalLoss(gamma=gamma, alpha=alpha).link(IndependentLabels(z_BL)).score_logits()[0]
    assert (linked.diff() > 0).all()


def test_link_in_float32_keeps_its_digits() -> None:
    z = np.linspace(-25, 15, 161)
    np.testing.assert_allclose(linked_p(LOSS, z, torch.float32), linked_p(LOSS, z), rtol=1e-4)


def test_beyond_the_range_of_float32_the_link_stays_exact() -> None:
    z_L = torch.linspace(-150, 150, 301, dtype=torch.float64)
    exact, single = (LOSS.link(IndependentLabels(z[None])).score_logits() for z in (z_L, z_L.float()))
    np.testing.assert_allclose(single, exact, rtol=1e-5, atol=1e-5)


def test_shares_are_refused() -> None:
    with pytest.raises(PairingError, match="LabelShares"):
        LOSS.check(LabelShares(torch.zeros(1, 3)))
