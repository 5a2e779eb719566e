import math

import numpy as np
import pytest
import torch

from mlc.losses.base import PairingError
from mlc.losses.two_way import TwoWayLoss
from mlc.outputs.shares import LabelShares
from tests.unit.losses.checks import (
    assert_finite_at_extremes,
    assert_gradient_by_finite_differences,
    assert_scores_only,
    gradient,
    losses,
    random_rows,
)

LOSS = TwoWayLoss(positive_temperature=4.0, negative_temperature=1.0)
SETTINGS = pytest.mark.parametrize(("hot", "cold"), [(4.0, 1.0), (1.0, 1.0), (0.5, 3.0)])


def one_way(z: np.ndarray, y: np.ndarray, hot: float, cold: float) -> float:
    """Mean over the rows with a true label, from the sets of true and false labels (Kobayashi 2023).

    An unknown label is NaN, and so in neither set.
    """
    terms = []
    for z_row, y_row in zip(z, y, strict=True):
        true, false = z_row[y_row == 1], z_row[y_row == 0]
        if len(true) == 0:
            continue
        pairs = np.exp(false / cold).sum() ** cold * np.exp(-true / hot).sum() ** hot
        terms.append(math.log1p(pairs))
    return float(np.mean(terms)) if terms else 0.0


def written_out(z: np.ndarray, y: np.ndarray, hot: float = 4.0, cold: float = 1.0) -> float:
    return one_way(z, y, hot, cold) + one_way(z.T, y.T, hot, cold)


def test_hand_value() -> None:
    # At zero with temperatures 1 a row with t true and f false labels costs log(1 + t f).
    loss = TwoWayLoss(positive_temperature=1.0, negative_temperature=1.0)
    y = np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    rows = math.log(1 + 2)  # 2·1 and 1·2
    labels = (math.log(1 + 1) + math.log(1 + 0)) / 2  # the third label is never true and left out
    assert losses(loss, np.zeros((2, 3)), y).tolist() == pytest.approx([rows + labels] * 2, rel=1e-12)


@SETTINGS
def test_equals_the_written_out_formula(hot: float, cold: float) -> None:
    z, y = random_rows()
    loss = TwoWayLoss(positive_temperature=hot, negative_temperature=cold)
    np.testing.assert_allclose(losses(loss, z, y), [written_out(z, y, hot, cold)] * 40, rtol=1e-9)


def test_rows_and_labels_without_anything_true_are_left_out() -> None:
    z, y = random_rows(12)
    y[:, 1] = 0
    y[3:6] = 0
    np.testing.assert_allclose(losses(LOSS, z, y), [written_out(z, y)] * 12, rtol=1e-9)


@SETTINGS
def test_unknown_labels_are_neither_true_nor_false(hot: float, cold: float) -> None:
    z, y = random_rows()
    y[np.random.default_rng(1).random(y.shape) < 0.4] = np.nan
    loss = TwoWayLoss(positive_temperature=hot, negative_temperature=cold)
    np.testing.assert_allclose(losses(loss, z, y), [written_out(z, y, hot, cold)] * 40, rtol=1e-9)


def test_a_row_with_everything_true_counts_as_perfect() -> None:
    z, y = np.zeros((2, 2)), np.array([[1.0, 1.0], [1.0, 0.0]])
    loss = TwoWayLoss(positive_temperature=1.0, negative_temperature=1.0)
    expected = (0 + math.log(2)) / 2 + (0 + math.log(2)) / 2
    assert losses(loss, z, y)[0] == pytest.approx(expected, rel=1e-12)


def test_a_batch_without_labels_costs_nothing_and_teaches_nothing() -> None:
    loss_B, grad_BL = gradient(LOSS, torch.randn(5, 3), torch.zeros(5, 3))
    assert not loss_B.any()
    assert not grad_BL.any()


@SETTINGS
def test_gradient_by_finite_differences(hot: float, cold: float) -> None:
    assert_gradient_by_finite_differences(TwoWayLoss(positive_temperature=hot, negative_temperature=cold))


def test_extreme_logits_stay_finite() -> None:
    assert_finite_at_extremes(LOSS)


def test_a_shift_of_all_scores_costs_nothing() -> None:
    # The reason for scores only.
    z, y = random_rows()
    np.testing.assert_allclose(losses(LOSS, z + 5, y), losses(LOSS, z, y), rtol=1e-9)


def test_it_couples_the_batch() -> None:
    z, y = random_rows()
    assert LOSS.couples_batch
    halves = (losses(LOSS, z[:20], y[:20])[0] + losses(LOSS, z[20:], y[20:])[0]) / 2
    assert abs(halves - losses(LOSS, z, y)[0]) > 1e-3


def test_the_link_leaves_scores() -> None:
    assert_scores_only(LOSS)


def test_shares_are_refused() -> None:
    with pytest.raises(PairingError, match="LabelShares"):
        LOSS.check(LabelShares(torch.zeros(1, 3)))
