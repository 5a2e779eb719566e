import pytest
import torch
from sklearn.metrics import mean_squared_error

from mlc.losses.base import PairingError
from mlc.losses.squared_error import SquaredError
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.shares import LabelShares
from tests.unit.losses.expected import optimal_logits

LOSS = SquaredError()


def test_hand_value() -> None:
    # σ(0) = ½ and σ(log 3) = ¾: (1 - ½)² + (0 - ¾)².
    z_BL = torch.tensor([[0.0, 3.0]])
    z_BL[0, 1] = z_BL[0, 1].log()
    assert LOSS(IndependentLabels(z_BL), torch.tensor([[1.0, 0.0]])).tolist() == pytest.approx([0.8125])


def test_summed_over_labels_it_equals_scikit_learn() -> None:
    z_BL = torch.randn(30, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y_BL = (torch.rand(30, 4, generator=torch.Generator().manual_seed(1)) < 0.3).double()
    mean = LOSS(IndependentLabels(z_BL), y_BL).mean().item()
    assert mean == pytest.approx(4 * mean_squared_error(y_BL, z_BL.sigmoid()), rel=1e-12)


def test_gradient_by_finite_differences() -> None:
    y_BL = torch.tensor([[1.0, 0, 1], [0, 0, 0]], dtype=torch.float64)
    z_BL = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: LOSS(IndependentLabels(z), y_BL), z_BL)


def test_its_gradient_dies_where_sigma_saturates() -> None:
    # The reason why cross-entropy replaced it: a confident mistake teaches nothing.
    z_BL = torch.tensor([[-1.0, -30.0]], requires_grad=True)
    LOSS(IndependentLabels(z_BL), torch.ones(1, 2)).sum().backward()
    assert z_BL.grad is not None
    assert z_BL.grad[0, 0] < -0.1
    assert z_BL.grad[0, 1].abs() < 1e-12


def test_extreme_logits_stay_finite() -> None:
    z_BL = torch.tensor([[-1e4, 1e4, 1e4, -1e4]], requires_grad=True)
    loss_B = LOSS(IndependentLabels(z_BL), torch.tensor([[1.0, 0.0, 1.0, 0.0]]))
    loss_B.sum().backward()
    assert loss_B.tolist() == [2.0]
    assert z_BL.grad is not None
    assert z_BL.grad.isfinite().all()


def test_link_returns_the_probability_that_the_loss_was_trained_on() -> None:
    p_L = [0.001, 0.01, 0.1, 0.3, 0.5, 0.8, 0.99, 0.999]
    linked = LOSS.link(IndependentLabels(optimal_logits(LOSS, p_L)))
    assert linked.marginals()[0].tolist() == pytest.approx(p_L, rel=1e-4)


def test_shares_are_refused() -> None:
    with pytest.raises(PairingError, match="LabelShares"):
        LOSS.check(LabelShares(torch.zeros(1, 2)))
