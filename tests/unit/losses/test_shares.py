import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from torch import Tensor

from mlc.losses import shares


def share_cross_entropy(logits_BL: Tensor, y_BL: Tensor) -> Tensor:
    """With every label known."""
    return shares.share_cross_entropy(logits_BL, y_BL, torch.ones_like(y_BL, dtype=torch.bool))


def test_hand_value_of_even_logits() -> None:
    # Two of four labels, even shares of 1/4: -2 · ½ · log ¼.
    loss_B = share_cross_entropy(torch.zeros(1, 4), torch.tensor([[1.0, 0.0, 1.0, 0.0]]))
    assert loss_B.tolist() == pytest.approx([math.log(4)])


def test_equals_scipy_on_random_rows() -> None:
    random = np.random.default_rng(0)
    z = random.normal(size=(50, 6)) * 5
    y = (random.random((50, 6)) < 0.5).astype(float)
    n = y.sum(1)
    expected = [-(y[i] / n[i] * log_softmax(z[i])).sum() if n[i] else 0.0 for i in range(50)]
    assert (n == 0).any()
    loss_B = share_cross_entropy(torch.from_numpy(z), torch.from_numpy(y))
    np.testing.assert_allclose(loss_B, expected, rtol=1e-12)


def test_rows_without_labels_have_neither_loss_nor_gradient() -> None:
    z_BL = torch.randn(3, 4, requires_grad=True)
    loss_B = share_cross_entropy(z_BL, torch.tensor([[0.0] * 4, [1.0, 0, 0, 0], [0.0] * 4]))
    loss_B.sum().backward()
    assert loss_B[[0, 2]].tolist() == [0, 0]
    assert z_BL.grad is not None
    assert (z_BL.grad[[0, 2]] == 0).all()
    assert (z_BL.grad[1] != 0).all()


def test_gradient_is_softmax_less_target() -> None:
    z_BL = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    y_BL = torch.tensor([[1.0, 1, 0, 0], [0, 0, 0, 1], [1, 1, 1, 1], [0, 1, 1, 1], [1, 0, 0, 0]]).double()
    share_cross_entropy(z_BL, y_BL).sum().backward()
    assert z_BL.grad is not None
    torch.testing.assert_close(z_BL.grad, z_BL.detach().softmax(1) - y_BL / y_BL.sum(1, keepdim=True))


def test_extreme_logits() -> None:
    z_BL = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    loss_B = share_cross_entropy(z_BL, torch.tensor([[0.0, 1.0, 0.0]]))
    loss_B.sum().backward()
    assert loss_B.item() == pytest.approx(2e4)
    assert z_BL.grad is not None
    assert z_BL.grad.isfinite().all()


def test_softmax_and_count_are_over_the_known_labels() -> None:
    # Even logits, two of the three known labels true: log 3, whatever the unknown one says.
    z_BL = torch.tensor([[0.0, 0.0, 1e4, 0.0]], requires_grad=True)
    known_BL = torch.tensor([[True, True, False, True]])
    loss_B = shares.share_cross_entropy(z_BL, torch.tensor([[1.0, 0.0, 0.0, 1.0]]), known_BL)
    loss_B.sum().backward()
    assert loss_B.item() == pytest.approx(math.log(3))
    assert z_BL.grad is not None
    assert z_BL.grad[0].tolist() == pytest.approx([1 / 3 - 1 / 2, 1 / 3, 0, 1 / 3 - 1 / 2])


@pytest.mark.parametrize("z", [0.0, 1e4, -1e4])
def test_a_row_without_known_labels_has_neither_loss_nor_gradient(z: float) -> None:
    z_BL = torch.tensor([[z, 1.0]], requires_grad=True)
    loss_B = shares.share_cross_entropy(z_BL, torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.bool))
    loss_B.sum().backward()
    assert loss_B.item() == 0
    assert z_BL.grad is not None
    assert not z_BL.grad.any()
