import pytest
import torch
from sklearn.svm import LinearSVC

from mlc.losses.base import PairingError
from mlc.losses.squared_hinge import SquaredHinge
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.shares import LabelShares
from tests.unit.losses.checks import (
    assert_finite_at_extremes,
    assert_gradient_by_finite_differences,
    assert_scores_only,
)

LOSS = SquaredHinge()


def test_hand_value() -> None:
    # True at ½ costs ¼, false at ½ costs 2¼, true beyond its margin costs nothing.
    z_BL, y_BL = torch.tensor([[0.5, 0.5, 3.0]]), torch.tensor([[1.0, 0.0, 1.0]])
    assert LOSS(IndependentLabels(z_BL), y_BL).tolist() == [2.5]


def test_gradient_by_finite_differences() -> None:
    assert_gradient_by_finite_differences(LOSS)


def test_extreme_logits_stay_finite() -> None:
    assert_finite_at_extremes(LOSS)


def test_scikit_learns_machine_is_its_optimum() -> None:
    random = torch.Generator().manual_seed(0)
    x_ND = torch.randn(60, 3, generator=random, dtype=torch.float64)
    y_N = (x_ND[:, 0] + torch.randn(60, generator=random, dtype=torch.float64) > 0).double()
    # liblinear minimises ½ w² + C Σ loss, and counts the bias as a weight.
    svm = LinearSVC(C=0.5, tol=1e-10, max_iter=100_000).fit(x_ND, y_N)
    weight_D = torch.tensor([*svm.coef_[0], *svm.intercept_], requires_grad=True)
    logits_N1 = (x_ND @ weight_D[:3] + weight_D[3])[:, None]
    objective = 0.5 * weight_D.square().sum() + 0.5 * LOSS(IndependentLabels(logits_N1), y_N[:, None]).sum()
    (gradient_D,) = torch.autograd.grad(objective, weight_D)
    assert gradient_D.abs().max() < 1e-4


def test_the_link_leaves_scores_with_the_cut_at_one_half() -> None:
    assert_scores_only(LOSS)


def test_shares_are_refused() -> None:
    with pytest.raises(PairingError, match="LabelShares"):
        LOSS.check(LabelShares(torch.zeros(1, 3)))
