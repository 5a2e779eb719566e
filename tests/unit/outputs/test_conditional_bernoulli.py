import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.special import comb
from torch import Tensor
from torch.utils import _pytree

from mlc.outputs.base import NotDefinedError
from mlc.outputs.conditional_bernoulli import ConditionalBernoulli
from mlc.outputs.counts import CategoricalCount, CountModel, NegativeBinomialCount, PointCount, PoissonCount
from mlc.outputs.independent import IndependentLabels, poisson_binomial
from tests.unit.outputs.label_sets import all_sets, enumerate_sets, log_prob_of_what_is_known, with_unknown

ROWS = 4
Counts = Callable[[int, torch.dtype], CountModel]


def random(*shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype)


COUNTS: dict[str, Counts] = {
    "poisson": lambda n, dtype: PoissonCount(random(ROWS, dtype=dtype, seed=1)),
    "negative_binomial": lambda n, dtype: NegativeBinomialCount(
        random(ROWS, dtype=dtype, seed=1), random(ROWS, dtype=dtype, seed=2)
    ),
    "categorical": lambda n, dtype: CategoricalCount(random(ROWS, n + 1, dtype=dtype, seed=1)),
    "capped": lambda n, dtype: CategoricalCount(random(ROWS, max(2, n - 2), dtype=dtype, seed=1)),
}
EVERY_COUNT = pytest.mark.parametrize("kind", COUNTS)


def output(
    kind: str, n_labels: int, dtype: torch.dtype = torch.float64, scale: float = 2
) -> ConditionalBernoulli:
    return ConditionalBernoulli(random(ROWS, n_labels, dtype=dtype) * scale, COUNTS[kind](n_labels, dtype))


@EVERY_COUNT
@pytest.mark.parametrize("n_labels", [1, 2, 5, 8])
@pytest.mark.parametrize(("dtype", "scale"), [(torch.float64, 2), (torch.float32, 2), (torch.float32, 20)])
def test_everything_agrees_with_the_sum_over_all_sets(
    kind: str, n_labels: int, dtype: torch.dtype, scale: float
) -> None:
    model = output(kind, n_labels, dtype, scale)
    exact = enumerate_sets(model, dtype)
    close = {"rtol": 0, "atol": 1e-5 if dtype == torch.float32 else 1e-12}
    torch.testing.assert_close(exact.p_BS.sum(1), torch.ones(ROWS).double(), **close)
    torch.testing.assert_close(model.marginals().double(), exact.marginals_BL, **close)
    torch.testing.assert_close(model.cardinality().double(), exact.cardinality_BK, **close)
    torch.testing.assert_close(model.expected_count().double(), exact.marginals_BL.sum(1), **close)
    joint_BLK = model.marginals_by_count().double()
    largest = joint_BLK.shape[2] - 1
    torch.testing.assert_close(joint_BLK, exact.marginals_by_count_BLK[:, :, : largest + 1], **close)
    assert not exact.cardinality_BK[:, largest + 1 :].any()
    assert torch.equal(model.mode(), exact.mode_BL)
    assert all(
        t.dtype == dtype for t in (model.marginals(), model.score_logits(), model.marginals_by_count())
    )


@EVERY_COUNT
def test_score_logits_are_the_log_odds_of_the_marginals(kind: str) -> None:
    model = output(kind, 6)
    torch.testing.assert_close(model.score_logits(), torch.logit(model.marginals()))
    assert torch.equal(model.scores(), model.marginals())


def test_score_logits_rank_where_marginals_are_1() -> None:
    # Two or three labels, each with chance ½: the two strong ones, and perhaps the third.
    count = CategoricalCount(torch.tensor([[-1e4, -1e4, 0.0, 0.0, -1e4, -1e4]]))
    model = ConditionalBernoulli(torch.tensor([[40.0, 44.0, 0.0, -40.0, -44.0]]), count)
    assert model.marginals()[0, :2].tolist() == [1, 1]
    expected = [40 + math.log(2), 44 + math.log(2), 0, -40 - math.log(2), -44 - math.log(2)]
    assert model.score_logits()[0].tolist() == pytest.approx(expected, abs=1e-5)


def test_odds_and_a_poisson_binomial_count_are_independent_labels() -> None:
    logits_BL = random(3, 6, dtype=torch.float64) * 2
    count = CategoricalCount(poisson_binomial(torch.sigmoid(logits_BL)).log())
    model, independent = ConditionalBernoulli(logits_BL, count), IndependentLabels(logits_BL)
    y_BL = (random(3, 6, dtype=torch.float64, seed=3) > 0).double()
    torch.testing.assert_close(model.log_prob(y_BL), independent.log_prob(y_BL))
    torch.testing.assert_close(model.score_logits(), logits_BL)
    torch.testing.assert_close(model.marginals_by_count(), independent.marginals_by_count())
    assert torch.equal(model.mode(), independent.mode())


def test_a_common_factor_of_the_weights_changes_nothing() -> None:
    model = output("categorical", 5)
    moved = ConditionalBernoulli(model.weight_logits_BL + 7, model.count)
    y_BL = torch.tensor([[1.0, 0, 1, 1, 0]]).double().expand(ROWS, -1)
    torch.testing.assert_close(moved.log_prob(y_BL), model.log_prob(y_BL))
    torch.testing.assert_close(moved.score_logits(), model.score_logits())


def test_equal_weights_share_the_count_and_the_first_labels_win_the_mode() -> None:
    count = CategoricalCount(torch.tensor([[0.1, 0.2, 0.6, 0.1]]).log())
    model = ConditionalBernoulli(torch.zeros(1, 4), count)
    torch.testing.assert_close(model.marginals(), torch.full((1, 4), 1.7 / 4))
    # Sets of 2 share .6 among 6.
    assert model.log_prob(torch.tensor([[1.0, 1, 0, 0]])).exp().item() == pytest.approx(0.1)
    more = CategoricalCount(torch.tensor([[0.05, 0.15, 0.7, 0.1]]).log())
    assert ConditionalBernoulli(torch.zeros(1, 4), more).mode().tolist() == [[True, True, False, False]]


def test_more_labels_than_the_count_allows_are_impossible_without_breaking_other_rows() -> None:
    weights_BL = random(2, 4, dtype=torch.float32).requires_grad_()
    count = CategoricalCount(torch.zeros(2, 3))
    log_prob_B = ConditionalBernoulli(weights_BL, count).log_prob(
        torch.tensor([[1.0, 1, 1, 0], [1, 0, 0, 0]])
    )
    assert log_prob_B[0] == -torch.inf
    log_prob_B[1].backward()
    assert weights_BL.grad is not None
    assert weights_BL.grad.isfinite().all()
    assert weights_BL.grad[1].any()


@EVERY_COUNT
def test_likelihood_and_marginals_by_finite_differences(kind: str) -> None:
    weights_BL = random(ROWS, 4, dtype=torch.float64).requires_grad_()
    y_BL = torch.tensor([[0.0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 1, 0, 0]]).double()
    count = COUNTS[kind](4, torch.float64)

    def quantities(z_BL: Tensor) -> tuple[Tensor, ...]:
        model = ConditionalBernoulli(z_BL, count)
        return model.log_prob(y_BL), model.marginals(), model.score_logits()

    assert torch.autograd.gradcheck(quantities, weights_BL)


def test_the_count_model_has_a_gradient_by_finite_differences() -> None:
    raw = random(3, ROWS, dtype=torch.float64).requires_grad_()
    weights_BL, y_BL = random(ROWS, 3, dtype=torch.float64), torch.eye(4, 3).double()

    def log_prob(raw: Tensor) -> Tensor:
        return ConditionalBernoulli(weights_BL, NegativeBinomialCount(raw[0], raw[1])).log_prob(y_BL)

    assert torch.autograd.gradcheck(log_prob, raw)


@pytest.mark.parametrize("kind", ["spread", "extreme", "ties"])
@pytest.mark.parametrize("max_count", [20, 1000])
def test_a_thousand_labels_in_float32(kind: str, max_count: int) -> None:
    n_labels, rows = 1000, 1
    weights_BL = {
        "spread": random(rows, n_labels, dtype=torch.float32) * 10,
        "extreme": torch.where(random(rows, n_labels, dtype=torch.float32) > 0, 50.0, -50.0),
        "ties": torch.full((rows, n_labels), 3.0),
    }[kind].requires_grad_()
    count = CategoricalCount(random(rows, max_count + 1, dtype=torch.float32))
    model = ConditionalBernoulli(weights_BL, count)
    marginals_BL = model.marginals().detach()
    assert ((marginals_BL >= 0) & (marginals_BL <= 1)).all()
    torch.testing.assert_close(
        marginals_BL.double().sum(1), model.expected_count().double(), rtol=1e-5, atol=0
    )
    joint_BLK = model.marginals_by_count()
    torch.testing.assert_close(joint_BLK.double().sum(2), marginals_BL.double(), rtol=1e-4, atol=1e-6)
    n_K = torch.arange(max_count + 1)
    expected_BK = model.cardinality()[:, : max_count + 1].double() * n_K
    torch.testing.assert_close(joint_BLK.double().sum(1), expected_BK.detach(), rtol=1e-4, atol=1e-6)
    # The sum over sets of one size by hand, where all are alike.
    y_BL = torch.zeros(rows, n_labels)
    y_BL[:, :15] = 1
    log_prob_B = model.log_prob(y_BL)
    if kind == "ties":
        expected = count.log_pmf(n_labels)[:, 15] - math.log(comb(1000, 15, exact=True))
        torch.testing.assert_close(log_prob_B, expected, rtol=1e-6, atol=0)
    log_prob_B.sum().backward()
    assert weights_BL.grad is not None
    assert weights_BL.grad.isfinite().all()
    # Σ_l (y_l - P(y_l = 1 | n)) = 0.
    assert weights_BL.grad.double().sum(1).abs().max().item() < 1e-4


@pytest.mark.parametrize("scale", [50.0, 1e4])
def test_extreme_logits_agree_with_exact_arithmetic(scale: float) -> None:
    # Two strong labels of five: with two labels, they are certain; with three, each of the others has 1/3.
    weights_BL = torch.tensor([[scale, -scale, -scale, scale, -scale]], requires_grad=True)
    model = ConditionalBernoulli(weights_BL, CategoricalCount(torch.tensor([[0.0, 0.0, 0.5, 0.5]]).log()))
    assert model.marginals()[0].tolist() == pytest.approx([1, 1 / 6, 1 / 6, 1, 1 / 6])
    assert model.log_prob(torch.tensor([[1.0, 0, 0, 1, 0]])).item() == pytest.approx(math.log(0.5))
    assert model.log_prob(torch.tensor([[1.0, 1, 0, 0, 0]])).item() == pytest.approx(
        math.log(0.5) - 2 * scale
    )
    assert model.mode().tolist() == [[True, False, False, True, False]]
    assert model.score_logits().isfinite().all()
    assert model.marginals_by_count()[0, :, 3].tolist() == pytest.approx([0.5, 1 / 6, 1 / 6, 0.5, 1 / 6])


def test_samples_by_rejection_have_its_conditional_marginals() -> None:
    # Independent labels, kept where two are true, are a conditional Bernoulli with the same odds.
    random_state = np.random.default_rng(0)
    p_L = np.array([0.1, 0.5, 0.3, 0.8])
    drawn = random_state.random((200_000, 4)) < p_L
    kept = drawn[drawn.sum(1) == 2]
    weights_BL = torch.from_numpy(np.log(p_L / (1 - p_L)))[None]
    model = ConditionalBernoulli(weights_BL, CategoricalCount(torch.tensor([[-1e9, -1e9, 0]]).double()))
    assert model.marginals()[0].tolist() == pytest.approx(kept.mean(0).tolist(), abs=0.006)


def test_a_point_count_has_no_probabilities_of_sets() -> None:
    with pytest.raises(NotDefinedError, match="PointCount has no distribution"):
        ConditionalBernoulli(torch.zeros(1, 3), PointCount(torch.ones(1))).marginals()


@EVERY_COUNT
@pytest.mark.parametrize("n_labels", [2, 3, 5, 8])
@pytest.mark.parametrize(("dtype", "scale"), [(torch.float64, 2), (torch.float64, 20), (torch.float32, 2)])
def test_unknown_labels_are_summed_out(kind: str, n_labels: int, dtype: torch.dtype, scale: float) -> None:
    model = output(kind, n_labels, dtype, scale)
    exact, sets_SL = enumerate_sets(model, dtype), all_sets(n_labels).to(dtype)
    close = {"rtol": 1e-12, "atol": 1e-10} if dtype == torch.float64 else {"rtol": 1e-5, "atol": 1e-4}
    for first in range(0, len(sets_SL), max(ROWS, len(sets_SL) // 8)):
        y_BL = with_unknown(sets_SL[first : first + ROWS], seed=first)
        log_prob_B = model.log_prob(y_BL)
        assert log_prob_B.dtype == dtype
        expected_B = log_prob_of_what_is_known(exact, y_BL).to(dtype)
        torch.testing.assert_close(log_prob_B, expected_B, **close)


@EVERY_COUNT
def test_rows_without_unknown_labels_do_not_see_those_of_other_rows(kind: str) -> None:
    model = output(kind, 6, torch.float32)
    y_BL = torch.tensor([[1.0, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1], [0] * 6, [0] * 6])
    hidden_BL = y_BL.clone()
    hidden_BL[2:, 1:3] = math.nan
    assert torch.equal(model.log_prob(hidden_BL)[:2], model.log_prob(y_BL)[:2])


@EVERY_COUNT
def test_the_likelihood_of_what_is_known_by_finite_differences(kind: str) -> None:
    nan = math.nan
    y_BL = torch.tensor([[0, nan, nan, 0], [1, 0, nan, 0], [nan] * 4, [0, 1, 0, 0]]).double()
    weights_BL = random(ROWS, 4, dtype=torch.float64).requires_grad_()
    raw = [leaf.detach().requires_grad_() for leaf in _pytree.tree_leaves(COUNTS[kind](4, torch.float64))]

    def log_prob(z_BL: Tensor, *raw: Tensor) -> Tensor:
        count = type(COUNTS[kind](4, torch.float64))(*raw)
        return ConditionalBernoulli(z_BL, count).log_prob(y_BL)

    assert torch.autograd.gradcheck(log_prob, (weights_BL, *raw))


def test_too_many_known_labels_are_impossible_without_breaking_other_rows() -> None:
    weights_BL = random(3, 4, dtype=torch.float32).requires_grad_()
    nan = math.nan
    y_BL = torch.tensor([[1.0, 1, 1, nan], [1, 1, nan, nan], [nan] * 4])
    log_prob_B = ConditionalBernoulli(weights_BL, CategoricalCount(torch.zeros(3, 3))).log_prob(y_BL)
    assert log_prob_B[0] == -math.inf
    assert log_prob_B[2].item() == pytest.approx(0, abs=1e-6)
    log_prob_B.nan_to_num(neginf=0).sum().backward()
    assert weights_BL.grad is not None
    assert not weights_BL.grad[0].any()
    assert weights_BL.grad[1].isfinite().all()
    assert weights_BL.grad[1].any()
    torch.testing.assert_close(weights_BL.grad[2], torch.zeros(4), rtol=0, atol=1e-6)


def test_counts_of_probability_0_leave_gradients_finite() -> None:
    weights_BL = random(2, 3, dtype=torch.float32).requires_grad_()
    count = CategoricalCount(torch.tensor([0.0, 0.0, 1.0, 0.0]).log().expand(2, -1))
    log_prob_B = ConditionalBernoulli(weights_BL, count).log_prob(
        torch.tensor([[1, math.nan, 0], [0, math.nan, 0]])
    )
    assert log_prob_B[0].isfinite()
    assert log_prob_B[1] == -math.inf
    log_prob_B[0].backward()
    assert weights_BL.grad is not None
    assert weights_BL.grad.isfinite().all()


@pytest.mark.parametrize("scale", [1.0, 50.0, 1e4])
def test_a_thousand_labels_of_which_many_are_unknown(scale: float) -> None:
    weights_BL = (random(2, 1000, dtype=torch.float32) * scale).requires_grad_()
    y_BL = torch.zeros(2, 1000)
    y_BL[:, :9] = 1
    hidden_BL = y_BL.clone()
    hidden_BL[0, 5:700] = math.nan
    hidden_BL[1, 20] = math.nan
    model = ConditionalBernoulli(weights_BL, CategoricalCount(random(2, 31, dtype=torch.float32)))
    log_prob_B = model.log_prob(hidden_BL)
    assert (log_prob_B >= model.log_prob(y_BL)).all()
    assert (log_prob_B < 0).all()
    # One unknown label: two completions.
    both = [model.log_prob(hidden_BL.nan_to_num(nan=value))[1].double() for value in (0.0, 1.0)]
    torch.testing.assert_close(log_prob_B[1].double(), torch.logaddexp(*both), rtol=1e-6, atol=0)
    log_prob_B.sum().backward()
    assert weights_BL.grad is not None
    assert weights_BL.grad.isfinite().all()
