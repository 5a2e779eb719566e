import math

import numpy as np
import pytest
import torch
from scipy.special import expit

from mlc.losses.base import PairingError
from mlc.losses.categorical_on_sigmoid import CategoricalOnSigmoid
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

LOSS = CategoricalOnSigmoid()


def test_hand_value() -> None:
    z, y = np.array([[0.0, math.log(3), 9.0]]), np.array([[1.0, 1.0, 0.0]])
    assert losses(LOSS, z, y).item() == pytest.approx(math.log(2) + math.log(4 / 3), rel=1e-12)


def test_equals_the_written_out_formula() -> None:
    z, y = random_rows()
    np.testing.assert_allclose(losses(LOSS, z, y), -(y * np.log(expit(z))).sum(1), rtol=1e-9)


def test_gradient_by_finite_differences() -> None:
    assert_gradient_by_finite_differences(LOSS)


def test_extreme_logits_stay_finite() -> None:
    assert_finite_at_extremes(LOSS)


def test_false_labels_never_reach_it() -> None:
    _, grad_BL = gradient(LOSS, torch.randn(4, 3), torch.tensor([[0.0, 1.0, 0.0]]).expand(4, 3))
    assert grad_BL[:, 1].all()
    assert not grad_BL[:, [0, 2]].any()


@pytest.mark.parametrize("p", [0.01, 0.9])
def test_its_optimum_says_yes_to_every_label(p: float) -> None:
    assert optimal_logits(LOSS, [p]).item() > 25  # the end of the range that is searched


def test_it_warns_and_names_what_was_meant() -> None:
    assert LOSS.warning is not None
    assert "loss=binary_cross_entropy" in LOSS.warning


def test_rows_without_labels_are_ignored_as_it_says() -> None:
    assert LOSS.ignores_empty_rows
    loss_B, grad_BL = gradient(LOSS, torch.randn(4, 3), torch.zeros(4, 3))
    assert not loss_B.any()
    assert not grad_BL.any()


def test_the_link_leaves_scores() -> None:
    assert_scores_only(LOSS)


def test_shares_are_refused() -> None:
    with pytest.raises(PairingError, match="LabelShares"):
        LOSS.check(LabelShares(torch.zeros(1, 3)))
