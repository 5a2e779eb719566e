import math

import numpy as np
import pytest
import torch
from scipy.special import expit

from mlc.losses.asymmetric import AsymmetricLoss
from mlc.losses.base import PairingError
from mlc.losses.focal import FocalLoss
from mlc.outputs.shares import LabelShares
from tests.unit.losses.checks import (
    assert_finite_at_extremes,
    assert_gradient_by_finite_differences,
    assert_scores_only,
    gradient,
    losses,
    random_rows,
)
from tests.unit.losses.expected import optimal_logits

LOSS = AsymmetricLoss(gamma_positive=1.0, gamma_negative=4.0, margin=0.05)
SETTINGS = pytest.mark.parametrize(
    ("positive", "negative", "margin"),
    [
        (1.0, 4.0, 0.05),
        (0.0, 4.0, 0.05),
        (0.0, 0.0, 0.0),
        (2.0, 2.0, 0.0),
        (1.0, 0.3, 0.2),
        (1.0, 0.0, 0.05),
        (1.0, 0.3, 0.0),
    ],
)


def build(positive: float, negative: float, margin: float) -> AsymmetricLoss:
    return AsymmetricLoss(gamma_positive=positive, gamma_negative=negative, margin=margin)


def written_out(z: np.ndarray, y: np.ndarray, positive: float, negative: float, margin: float) -> np.ndarray:
    """Ridnik et al. 2021, eq. 5-7."""
    p = expit(z)
    p_m = np.maximum(p - margin, 0)
    loss_positive = (1 - p) ** positive * np.log(p)
    loss_negative = p_m**negative * np.log(1 - p_m)
    total: np.ndarray = (-y * loss_positive - (1 - y) * loss_negative).sum(1)
    return total


def test_hand_value() -> None:
    # σ(0) = ½: ½ log 2 for the true label, .45⁴ · -log .55 for the false one.
    expected = 0.5 * math.log(2) - 0.45**4 * math.log(0.55)
    assert losses(LOSS, np.zeros((1, 2)), np.array([[1.0, 0.0]])).item() == pytest.approx(expected, rel=1e-12)


@SETTINGS
def test_equals_the_written_out_formula(positive: float, negative: float, margin: float) -> None:
    z, y = random_rows()
    expected = written_out(z, y, positive, negative, margin)
    np.testing.assert_allclose(losses(build(positive, negative, margin), z, y), expected, rtol=1e-9)


def test_with_equal_focus_and_no_margin_it_is_twice_the_balanced_focal_loss() -> None:
    z, y = random_rows()
    focal = losses(FocalLoss(gamma=2.0, alpha=0.5), z, y)
    np.testing.assert_allclose(losses(build(2.0, 2.0, 0.0), z, y), 2 * focal, rtol=1e-9)


@SETTINGS
def test_gradient_by_finite_differences(positive: float, negative: float, margin: float) -> None:
    assert_gradient_by_finite_differences(build(positive, negative, margin))


@SETTINGS
def test_extreme_logits_stay_finite(positive: float, negative: float, margin: float) -> None:
    assert_finite_at_extremes(build(positive, negative, margin))


def test_a_false_label_below_the_margin_is_free_and_forgotten() -> None:
    # The reason for scores only: every p <= m is an optimum for a label that is never true.
    z_BL = torch.logit(torch.tensor([[1e-6, 0.02, 0.0499, 0.06]]))
    loss_B, grad_BL = gradient(LOSS, z_BL[:, :3], torch.zeros(1, 3))
    assert loss_B.item() == 0
    assert not grad_BL.any()
    loss_B, grad_BL = gradient(LOSS, z_BL[:, 3:], torch.zeros(1, 1))
    assert loss_B.item() > 0
    assert grad_BL.item() > 0


def test_a_rare_label_is_pushed_above_the_margin_all_the_same() -> None:
    assert optimal_logits(LOSS, [0.001]).sigmoid().item() > 0.05


def test_the_link_leaves_scores() -> None:
    assert_scores_only(LOSS)


def test_shares_are_refused() -> None:
    with pytest.raises(PairingError, match="LabelShares"):
        LOSS.check(LabelShares(torch.zeros(1, 3)))
