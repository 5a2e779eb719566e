import numpy as np
import pytest
import torch
from torch import Tensor

from mlc.outputs.leave_one_out import multiply, multiply_logs, products_without_each


def factors(n_labels: int, rows: int = 2) -> Tensor:
    g = torch.Generator().manual_seed(n_labels)
    return torch.rand(rows, n_labels, 2, generator=g, dtype=torch.float64)


def by_numpy(factors_L2: Tensor, without: int) -> np.ndarray:
    product = np.ones(1)
    for label, factor in enumerate(factors_L2.numpy()):
        if label != without:
            product = np.convolve(product, factor)
    return product


@pytest.mark.parametrize(
    ("m", "n", "width"), [(1, 1, 1), (3, 3, 9), (2, 5, 9), (5, 2, 9), (4, 4, 3), (2, 6, 1)]
)
def test_multiply_is_a_convolution(m: int, n: int, width: int) -> None:
    a, b = torch.rand(2, m, dtype=torch.float64), torch.rand(2, n, dtype=torch.float64)
    expected = np.array([np.convolve(x, y)[:width] for x, y in zip(a.numpy(), b.numpy(), strict=True)])
    np.testing.assert_allclose(multiply(a, b, width), expected, rtol=1e-12)
    np.testing.assert_allclose(multiply_logs(a.log(), b.log(), width).exp(), expected, rtol=1e-12)


@pytest.mark.parametrize("n_labels", [1, 2, 3, 4, 5, 8, 13])
@pytest.mark.parametrize("cut", [0, 2])
def test_every_label_is_left_out_in_turn(n_labels: int, cut: int) -> None:
    factors_BL2, width = factors(n_labels), max(1, n_labels - cut)
    one = torch.tensor([1.0, 0.0])
    found_BLK = products_without_each(factors_BL2, width, one=one, times=multiply)
    logs_BLK = products_without_each(factors_BL2.log(), width, one=one.log(), times=multiply_logs)
    assert found_BLK.shape == (2, n_labels, width)
    for row, factors_L2 in enumerate(factors_BL2):
        for label in range(n_labels):
            expected = by_numpy(factors_L2, label)[:width]
            np.testing.assert_allclose(found_BLK[row, label], expected, rtol=1e-12)
            np.testing.assert_allclose(logs_BLK[row, label].exp(), expected, rtol=1e-12)


def test_a_factor_without_a_constant_does_not_disturb_the_others() -> None:
    # Dividing by the factor (0, 1) of a certain label is what cannot be done.
    factors_BL2 = torch.tensor([[[0.0, 1], [0.0, 1], [0.25, 0.75]]])
    found = products_without_each(factors_BL2, 3, one=torch.tensor([1.0, 0.0]), times=multiply)
    assert found.tolist() == [[[0, 0.25, 0.75], [0, 0.25, 0.75], [0, 0, 1]]]


def test_products_can_be_differentiated() -> None:
    one = torch.tensor([1.0, 0.0])
    factors_BL2 = factors(5).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda f: products_without_each(f, 4, one=one, times=multiply), factors_BL2
    )
