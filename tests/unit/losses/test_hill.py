import math

import numpy as np
import pytest
import torch
from scipy.special import expit

from mlc.losses.base import PairingError
from mlc.losses.hill import HillLoss
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

LOSS = HillLoss()


def written_out(z: np.ndarray, y: np.ndarray, margin: float = 1.0) -> np.ndarray:
    """Zhang et al. 2021: focal margin loss for true labels, the hill for false ones."""
    p, p_m = expit(z), expit(z - margin)
    loss_positive = -((1 - p_m) ** 2) * np.log(p_m)
    loss_negative = (1.5 - p) * p**2
    total: np.ndarray = (y * loss_positive + (1 - y) * loss_negative).sum(-1)
    return total


def log_slope_ratio(z: np.ndarray, margin: float) -> np.ndarray:
    """log N - log M by finite differences of the written-out formula."""
    step = 1e-4

    def slope(y: float) -> np.ndarray:
        high, low = (written_out((z + d)[:, None], np.array([y]), margin) for d in (step, -step))
        difference: np.ndarray = (high - low) / (2 * step)
        return difference

    ratio: np.ndarray = np.log(slope(0.0)) - np.log(-slope(1.0))
    return ratio


def test_hand_value() -> None:
    # z = 1 gives q = ½ for the true label; z = 0 gives (1.5 - ½)/4 for the false one.
    expected = 0.25 * math.log(2) + 0.25
    assert losses(LOSS, np.array([[1.0, 0.0]]), np.array([[1.0, 0.0]])).item() == pytest.approx(expected)


def test_equals_the_written_out_formula() -> None:
    z, y = random_rows()
    np.testing.assert_allclose(losses(LOSS, z, y), written_out(z, y), rtol=1e-9)


def test_gradient_by_finite_differences() -> None:
    assert_gradient_by_finite_differences(LOSS)


def test_extreme_logits_stay_finite() -> None:
    assert_finite_at_extremes(LOSS)


def test_a_confident_false_label_is_let_be() -> None:
    loss_B, grad_BL = gradient(LOSS, torch.tensor([[1e4, 0.0]]), torch.zeros(1, 2))
    assert loss_B.item() == pytest.approx(0.5 + 0.25)
    assert grad_BL[0, 0] == 0
    assert grad_BL[0, 1] > 0.1


def test_link_returns_the_probability_that_the_loss_was_trained_on() -> None:
    linked = LOSS.link(IndependentLabels(optimal_logits(LOSS, P_GRID)))
    assert isinstance(linked, IndependentLabels)
    assert linked.marginals()[0].tolist() == pytest.approx(P_GRID, rel=2e-4)


def test_without_the_link_the_loss_distorts() -> None:
    assert optimal_logits(LOSS, [0.1]).sigmoid().item() > 0.25


def test_link_is_where_the_expected_loss_is_level() -> None:
    z = np.linspace(-8, 8, 65)
    linked = LOSS.link(IndependentLabels(torch.from_numpy(z)[None]))
    np.testing.assert_allclose(linked.score_logits()[0], log_slope_ratio(z, 1.0), atol=1e-3)


def test_slope_of_the_link_is_as_documented() -> None:
    z = torch.arange(-40, 40, 0.01, dtype=torch.float64)
    slope = LOSS.link(IndependentLabels(z[None])).score_logits()[0].diff() / 0.01
    assert slope.min().item() == pytest.approx(0.41, abs=0.005)


def test_a_larger_margin_would_have_no_inverse() -> None:
    # Why the published constants are no options.
    z = np.linspace(-6, 6, 241)
    assert (np.diff(log_slope_ratio(z, 1.0)) > 0).all()
    assert (np.diff(log_slope_ratio(z, 2.0)) < 0).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_link_keeps_the_ranking(dtype: torch.dtype) -> None:
    z_BL = torch.arange(-150, 150, 0.5, dtype=dtype)[None]
    assert (LOSS.link(IndependentLabels(z_BL)).score_logits()[0].diff() > 0).all()


def test_shares_are_refused() -> None:
    with pytest.raises(PairingError, match="LabelShares"):
        LOSS.check(LabelShares(torch.zeros(1, 3)))
