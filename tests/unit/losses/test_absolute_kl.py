import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.special import expit, softmax
from torch import Tensor

from mlc.losses.absolute_kl import AbsoluteKL, absolute_kl
from mlc.losses.base import PairingError
from mlc.outputs.base import NotDefinedError
from mlc.outputs.counts import PointCount
from mlc.outputs.factorised import FactorisedCount
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.scores_only import ScoresOnly
from mlc.outputs.shares import LabelShares
from tests.unit.losses.expected import optimal_logits

EPSILON = 1e-7
LOSS = AbsoluteKL(epsilon=EPSILON)
P_GRID = [0.001, 0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98, 0.999]


def written_out(q: np.ndarray, y: np.ndarray, epsilon: float) -> np.ndarray:
    """Σ |(y - q) · log(y / q)| with both clipped below, as the mission has it."""
    q, y = np.maximum(q, epsilon), np.maximum(y, epsilon)
    total: np.ndarray = np.abs((y - q) * np.log(y / q)).sum(-1)
    return total


def linked_p(logits: list[float], dtype: torch.dtype) -> np.ndarray:
    linked = LOSS.link(IndependentLabels(torch.tensor([logits], dtype=dtype)))
    p: np.ndarray = linked.marginals()[0].numpy()
    return p


def test_hand_values() -> None:
    q_BL = torch.tensor([[0.5, 1.0], [0.5, 0.0]], dtype=torch.float64)
    y_BL = torch.tensor([[1.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    expected = [0.5 * math.log(2), (0.5 - 1e-7) * math.log(0.5e7)]
    assert absolute_kl(q_BL, y_BL, EPSILON).sum(1).tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("epsilon", [1e-7, 1e-3])
def test_equals_the_written_out_formula(epsilon: float) -> None:
    random = np.random.default_rng(0)
    z, y = random.normal(size=(50, 4)) * 4, (random.random((50, 4)) < 0.4).astype(float)
    loss_B = AbsoluteKL(epsilon=epsilon)(IndependentLabels(torch.from_numpy(z)), torch.from_numpy(y))
    np.testing.assert_allclose(loss_B, written_out(expit(z), y, epsilon), rtol=1e-10)


def test_on_a_factorised_head_it_compares_the_product() -> None:
    random = np.random.default_rng(0)
    z, count = random.normal(size=(50, 4)), random.random(50) * 3
    y = (random.random((50, 4)) < 0.4).astype(float)
    output = FactorisedCount(torch.from_numpy(z), PointCount(torch.from_numpy(count)))
    expected = written_out(count[:, None] * softmax(z, axis=1), y, EPSILON)
    np.testing.assert_allclose(LOSS(output, torch.from_numpy(y)), expected, rtol=1e-10)


def test_on_a_factorised_head_an_unknown_label_leaves_out_its_own_term() -> None:
    # The other labels keep their share of the whole row, which the count speaks of.
    random = np.random.default_rng(0)
    z, count = random.normal(size=(50, 4)), random.random(50) * 3
    y = (random.random((50, 4)) < 0.4).astype(float)
    unknown = random.random((50, 4)) < 0.4
    product = count[:, None] * softmax(z, axis=1)
    terms = np.stack([written_out(product[:, [j]], y[:, [j]], EPSILON) for j in range(4)], axis=1)
    output = FactorisedCount(torch.from_numpy(z), PointCount(torch.from_numpy(count)))
    found_B = LOSS(output, torch.from_numpy(np.where(unknown, np.nan, y)))
    np.testing.assert_allclose(found_B, (terms * ~unknown).sum(1), rtol=1e-10)


def test_every_term_is_positive_and_zero_only_at_the_target() -> None:
    q_B1 = torch.logspace(-9, 1, 400)[:, None]  # also beyond 1, as count x share may be
    for target in (0.0, 1.0):
        assert (absolute_kl(q_B1, torch.full_like(q_B1, target), EPSILON) >= 0).all()
    assert not absolute_kl(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0]]), EPSILON).any()


def test_gradient_by_finite_differences() -> None:
    y_BL = torch.tensor([[1.0, 0, 1], [0, 0, 0]], dtype=torch.float64)
    z_BL = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    count_B = torch.tensor([0.5, 2.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: LOSS(IndependentLabels(z), y_BL), z_BL)
    assert torch.autograd.gradcheck(
        lambda z, n: LOSS(FactorisedCount(z, PointCount(n)), y_BL), (z_BL, count_B)
    )


def test_extreme_logits_stay_finite() -> None:
    z_BL = torch.tensor([[-1e4, 1e4, 1e4, -1e4]], requires_grad=True)
    loss_B = LOSS(IndependentLabels(z_BL), torch.tensor([[1.0, 0.0, 1.0, 0.0]]))
    loss_B.sum().backward()
    assert loss_B.item() == pytest.approx(2 * math.log(1e7), rel=1e-5)  # the two mistakes
    assert z_BL.grad is not None
    assert z_BL.grad.isfinite().all()


def test_below_epsilon_there_is_no_gradient() -> None:
    z_BL = torch.tensor([[-15.0, -17.0]], requires_grad=True)  # σ(-16.1) = 1e-7
    LOSS(IndependentLabels(z_BL), torch.ones(1, 2)).sum().backward()
    assert z_BL.grad is not None
    assert z_BL.grad[0, 0] < -0.5
    assert z_BL.grad[0, 1] == 0


def test_optimum_at_one_half_is_as_far_off_as_documented() -> None:
    assert optimal_logits(LOSS, [0.5]).sigmoid().item() == pytest.approx(0.077, abs=0.0005)


@pytest.mark.parametrize("epsilon", [1e-7, 1e-5, 1e-3])
def test_link_returns_the_probability_that_the_loss_was_trained_on(epsilon: float) -> None:
    loss = AbsoluteKL(epsilon=epsilon)
    linked = loss.link(IndependentLabels(optimal_logits(loss, P_GRID)))
    assert isinstance(linked, IndependentLabels)
    assert linked.marginals()[0].tolist() == pytest.approx(P_GRID, rel=2e-4)


def test_link_is_where_the_expected_loss_is_level() -> None:
    # Finite differences of the written-out expected loss, solved for p, at many q.
    z = np.linspace(-14, 14, 57)
    q, step = expit(z)[:, None], 1e-4
    slope = {
        y: (
            written_out(q * (1 + step), np.array([y]), EPSILON)
            - written_out(q * (1 - step), np.array([y]), EPSILON)
        )
        for y in (0.0, 1.0)
    }
    expected = slope[0.0] / (slope[0.0] - slope[1.0])
    np.testing.assert_allclose(linked_p(z.tolist(), torch.float64), expected, rtol=1e-3)


def test_link_in_float32_keeps_its_digits() -> None:
    z = np.linspace(-15.5, 60, 152).tolist()
    exact, single = linked_p(z, torch.float64), linked_p(z, torch.float32)
    np.testing.assert_allclose(single, exact, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_link_keeps_the_ranking(dtype: torch.dtype) -> None:
    z_BL = torch.arange(-80, 80, 0.5, dtype=dtype)[None]
    linked = LOSS.link(IndependentLabels(z_BL)).score_logits()[0]
    assert (linked.diff() > 0).all()


@pytest.mark.parametrize("z", [-1e4, -100.0, -90.0, -16.5, 100.0, 1e4])
def test_link_of_extreme_logits_has_marginals_and_likelihood(z: float) -> None:
    linked = LOSS.link(IndependentLabels(torch.tensor([[z, 0.0]])))
    assert linked.score_logits().isfinite().all()
    assert linked.marginals()[0, 0].item() == pytest.approx(float(z > 0), abs=1e-6)
    for y in (0.0, 1.0):
        assert linked.log_prob(torch.tensor([[y, 0.0]])).isfinite().all()


def test_half_is_where_the_link_says() -> None:
    # M(q) = N(q), solved by scipy from the docstring's equations.
    def balance(q: float) -> float:
        return (1 - q) / q - math.log(q) - (math.log(q / EPSILON) + 1 - EPSILON / q)

    q = brentq(balance, 1e-3, 0.9)
    assert linked_p([math.log(q / (1 - q))], torch.float64).item() == pytest.approx(0.5, abs=1e-7)


def test_a_factorised_output_is_left_as_scores() -> None:
    output = FactorisedCount(torch.randn(3, 4), PointCount(torch.tensor([0.5, 1.0, 9.0])))
    linked = LOSS.link(output)
    assert isinstance(linked, ScoresOnly)
    assert torch.equal(linked.scores(), output.scores())
    assert torch.equal(linked.score_logits(), output.score_logits())
    with pytest.raises(NotDefinedError):
        linked.marginals()


def test_shares_are_refused() -> None:
    with pytest.raises(PairingError, match="LabelShares"):
        LOSS.check(LabelShares(torch.zeros(1, 2)))


def test_optimum_of_a_factorised_count_is_level_too() -> None:
    # One label, P = 1: the product is Z itself, and its optimum solves the same equation as q does.
    def expected(count: float) -> float:
        output = FactorisedCount(torch.zeros(2, 1).double(), PointCount(torch.full((2,), count).double()))
        y_BL: Tensor = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
        return float(LOSS(output, y_BL).mean())

    grid = np.linspace(0.01, 0.99, 981)
    assert grid[np.argmin([expected(c) for c in grid])] == pytest.approx(0.077, abs=0.001)
