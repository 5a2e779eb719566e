import math

import numpy as np
import pytest
import torch
from scipy.special import expit

from mlc.batch import LabelStatistics
from mlc.losses.base import PairingError
from mlc.losses.distribution_balanced import DistributionBalancedLoss
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.shares import LabelShares
from tests.unit.label_statistics import labels_with
from tests.unit.losses.checks import (
    assert_finite_at_extremes,
    assert_gradient_by_finite_differences,
    assert_scores_only,
    losses,
    random_rows,
    statistics,
)
from tests.unit.losses.expected import optimal_raw

ROWS = 100
POSITIVES = [50.0, 20.0, 2.0]
LABELS = statistics(POSITIVES, ROWS)


def build(
    labels: LabelStatistics = LABELS, centre: float = 0.2, scale: float = 2.0, gamma: float = 2.0
) -> DistributionBalancedLoss:
    return DistributionBalancedLoss(
        labels=labels,
        weight_floor=0.1,
        weight_slope=10.0,
        weight_centre=centre,
        negative_scale=scale,
        bias_scale=0.05,
        gamma=gamma,
    )


LOSS = build()


def written_out(z: np.ndarray, y: np.ndarray, centre: float, scale: float, gamma: float) -> np.ndarray:
    """Wu et al. 2020, one label of one row at a time."""
    total = np.zeros(len(z))
    for i, (z_row, y_row) in enumerate(zip(z, y, strict=True)):
        sampled_for_any = sum(1 / n for n, true in zip(POSITIVES, y_row, strict=True) if true)
        for z_l, true, n in zip(z_row, y_row, POSITIVES, strict=True):
            r = (1 / n) / sampled_for_any if sampled_for_any else math.inf
            weight = 0.1 + expit(10.0 * (r - centre))
            z_l = z_l - 0.05 * math.log(ROWS / n - 1) / scale
            if true:
                q = expit(z_l)
                total[i] += weight * -((1 - q) ** gamma) * math.log(q)
            else:
                p = expit(scale * z_l)
                total[i] += weight / scale * -(p**gamma) * math.log(1 - p)
    return total


@pytest.mark.parametrize(
    ("centre", "scale", "gamma"), [(0.2, 2.0, 2.0), (0.3, 5.0, 2.0), (0.9, 2.0, 2.0), (0.2, 1.0, 0.0)]
)
def test_equals_the_written_out_formula(centre: float, scale: float, gamma: float) -> None:
    z, y = random_rows()
    actual = losses(build(centre=centre, scale=scale, gamma=gamma), z, y)
    np.testing.assert_allclose(actual, written_out(z, y, centre, scale, gamma), rtol=1e-5)


def test_hand_value() -> None:
    # n = N/2 has no bias; one true label has r = 1. At z = 0: q = p = ½ and γ = 2.
    labels = statistics([50.0, 50.0], 100)
    weight = 0.1 + 1 / (1 + math.exp(-8))  # both labels have r = 1
    expected = weight * (1 + 1 / 2) * 0.25 * math.log(2)
    actual = losses(build(labels), np.zeros((1, 2)), np.array([[1.0, 0.0]]))
    assert actual.item() == pytest.approx(expected, rel=1e-6)


def test_the_bias_is_that_of_the_rows_in_which_a_label_is_known() -> None:
    # Both labels are true in half of the rows in which they are known: no bias. The first is the one true.
    half = labels_with([50.0, 20.0], rows=100, known=[100.0, 40.0])
    rarity = (1 / 20) / (1 / 50)
    weights = [0.1 + expit(10 * 0.8), 0.1 + expit(10 * (rarity - 0.2))]
    expected = (weights[0] + weights[1] / 2) * 0.25 * math.log(2)
    actual = losses(build(half), np.zeros((1, 2)), np.array([[1.0, 0.0]]))
    assert actual.item() == pytest.approx(expected, rel=1e-6)


def test_labels_that_are_never_known_stay_finite() -> None:
    loss = build(labels_with([0.0, 30.0, 0.0], rows=100, known=[0.0, 80.0, 0.2]))
    assert_finite_at_extremes(loss)
    assert loss.bias_L[[0, 2]].tolist() == [0, 0]


def test_a_row_without_labels_has_the_limit_of_the_weight() -> None:
    labels = statistics([50.0], 100)
    actual = losses(build(labels), np.zeros((1, 1)), np.zeros((1, 1)))
    assert actual.item() == pytest.approx(1.1 / 2 * 0.25 * math.log(2), rel=1e-6)


def test_labels_never_or_always_true_stay_finite() -> None:
    loss = build(statistics([0.0, 30.0, 100.0], 100))
    assert_finite_at_extremes(loss)
    z, y = random_rows()
    assert np.isfinite(losses(loss, z, y)).all()


def test_gradient_by_finite_differences() -> None:
    assert_gradient_by_finite_differences(LOSS)


def test_extreme_logits_stay_finite() -> None:
    assert_finite_at_extremes(LOSS)


def test_the_optimum_depends_on_which_labels_occur_together() -> None:
    # The reason for scores only: two joint distributions with the same marginals .5, .5.
    labels = statistics([50.0, 10.0], 100)
    sets_SL = torch.tensor([[0.0, 0], [1, 0], [0, 1], [1, 1]]).double()
    loss = build(labels)
    together, apart = (
        optimal_raw(loss, IndependentLabels, 2, sets_SL, torch.tensor(chance).double())
        for chance in ([0.4, 0.1, 0.1, 0.4], [0.1, 0.4, 0.4, 0.1])
    )
    assert (together - apart).abs().max() > 0.1


def test_frequencies_are_no_part_of_what_is_saved() -> None:
    assert not LOSS.state_dict()


def test_the_link_leaves_scores() -> None:
    assert_scores_only(LOSS)


def test_shares_are_refused() -> None:
    with pytest.raises(PairingError, match="LabelShares"):
        LOSS.check(LabelShares(torch.zeros(1, 3)))
