import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn.metrics import f1_score

from mlc.losses.base import PairingError
from mlc.losses.soft_f1 import SoftF1
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.shares import LabelShares
from tests.unit.losses.checks import (
    assert_finite_at_extremes,
    assert_gradient_by_finite_differences,
    assert_scores_only,
    gradient,
    losses,
    random_rows,
)

EPSILON = 1e-7
LOSS = SoftF1(slope=1.0, offset=0.0, epsilon=EPSILON)
STEEP = SoftF1(slope=9.0, offset=-0.5, epsilon=EPSILON)


def written_out(z: np.ndarray, y: np.ndarray, slope: float, offset: float) -> float:
    """Bénédict et al. 2021: the confusion counts with a sigmoid for a decision, label by label."""
    s = expit(slope * (z + offset))
    tp = np.nansum(s * y, axis=0)
    fp = np.nansum(s * (1 - y), axis=0)
    fn = np.nansum((1 - s) * y, axis=0)
    return float((1 - 2 * tp / (2 * tp + fn + fp + EPSILON)).sum())


def test_hand_value() -> None:
    # All at ½: label 1 has tp 1, fn 1, fp 0: 1 - 2/3; label 2 has tp ½, fn ½, fp ½: 1 - 1/2.
    y = np.array([[1.0, 1.0], [1.0, 0.0]])
    assert losses(LOSS, np.zeros((2, 2)), y).tolist() == pytest.approx([1 / 3 + 1 / 2] * 2, rel=1e-6)


@pytest.mark.parametrize(("loss", "slope", "offset"), [(LOSS, 1.0, 0.0), (STEEP, 9.0, -0.5)])
def test_equals_the_written_out_formula(loss: SoftF1, slope: float, offset: float) -> None:
    z, y = random_rows()
    np.testing.assert_allclose(losses(loss, z, y), [written_out(z, y, slope, offset)] * 40, rtol=1e-9)


def test_unknown_labels_are_left_out_of_every_count() -> None:
    z, y = random_rows()
    y[np.random.default_rng(1).random(y.shape) < 0.4] = np.nan
    np.testing.assert_allclose(losses(STEEP, z, y), [written_out(z, y, 9.0, -0.5)] * 40, rtol=1e-9)


def test_a_label_that_no_row_knows_costs_nothing() -> None:
    z, y = random_rows()
    y[:, 1] = np.nan
    expected = written_out(z[:, [0, 2]], y[:, [0, 2]], 1.0, 0.0)
    np.testing.assert_allclose(losses(LOSS, z, y), [expected] * 40, rtol=1e-9)


def test_for_confident_scores_it_is_one_minus_macro_f1() -> None:
    z, y = random_rows()
    macro = f1_score(y, z > 0, average="macro")
    assert losses(LOSS, np.sign(z) * 100, y)[0] == pytest.approx(3 * (1 - macro), abs=1e-6)


@pytest.mark.parametrize("loss", [LOSS, SoftF1(slope=3.0, offset=-0.5, epsilon=EPSILON)])
def test_gradient_by_finite_differences(loss: SoftF1) -> None:
    assert_gradient_by_finite_differences(loss)


@pytest.mark.parametrize("loss", [LOSS, STEEP])
def test_extreme_logits_stay_finite(loss: SoftF1) -> None:
    assert_finite_at_extremes(loss)


def test_a_label_without_a_true_row_costs_one_and_has_no_gradient() -> None:
    y_BL = torch.zeros(5, 2)
    y_BL[0, 0] = 1
    loss_B, grad_BL = gradient(LOSS, torch.randn(5, 2), y_BL)
    assert loss_B[0] > 1
    assert grad_BL[:, 0].all()
    assert not grad_BL[:, 1].any()


def test_it_couples_the_batch() -> None:
    z, y = random_rows()
    assert LOSS.couples_batch
    halves = (losses(LOSS, z[:20], y[:20])[0] + losses(LOSS, z[20:], y[20:])[0]) / 2
    assert abs(halves - losses(LOSS, z, y)[0]) > 1e-3


def test_the_link_leaves_scores_in_its_own_unit() -> None:
    assert_scores_only(LOSS)
    assert_scores_only(SoftF1(slope=0.5, offset=-0.5, epsilon=EPSILON))
    scores_BL = STEEP.link(IndependentLabels(torch.tensor([[0.5, 0.6]]))).scores()
    np.testing.assert_allclose(scores_BL, [[0.5, expit(9 * 0.1)]], rtol=1e-6)


def test_shares_are_refused() -> None:
    with pytest.raises(PairingError, match="LabelShares"):
        LOSS.check(LabelShares(torch.zeros(1, 3)))
