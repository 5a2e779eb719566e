import dataclasses
import math
from typing import Literal

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, rel_entr, softmax
from scipy.stats import nbinom, poisson
from torch import Tensor

from mlc.batch import LabelStatistics
from mlc.losses.base import PairingError
from mlc.losses.factorised import FactorisedLoss
from mlc.outputs.counts import CategoricalCount, NegativeBinomialCount, PointCount, PoissonCount
from mlc.outputs.factorised import FactorisedCount
from mlc.outputs.independent import IndependentLabels
from tests.unit.losses.expected import optimal_raw

CountLoss = Literal["squared_error", "poisson_nll", "negative_binomial_nll", "categorical_map"]
# Ten training rows: 3 without labels, 1 with one, 4 with two, 2 with three.
LABELS = LabelStatistics(
    torch.tensor([7.0, 6.0, 2.0]).double(),
    known_L=torch.tensor([10.0, 10.0, 10.0]).double(),
    rows=10,
    single_label=False,
    count_histogram_K=torch.tensor([3.0, 1, 4, 2]).double(),
)


def factorised_loss(
    count_loss: CountLoss, share: float = 1.0, count: float = 1.0, prior: float = 0.0
) -> FactorisedLoss:
    return FactorisedLoss(
        labels=LABELS,
        count_loss=count_loss,
        share_weight=share,
        count_weight=count,
        count_prior_weight=prior,
    )


SQUARED = factorised_loss("squared_error")
POISSON = factorised_loss("poisson_nll")
NEGATIVE_BINOMIAL = factorised_loss("negative_binomial_nll")
CATEGORICAL = factorised_loss("categorical_map")

SETS_SL = torch.tensor([[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]], dtype=torch.float64)
CHANCE_S = torch.tensor([0.3, 0.1, 0.4, 0.2], dtype=torch.float64)
MEAN_COUNT = 0.1 + 0.8 + 0.6
MEAN_SHARES = [(0.1 + 0.2 + 0.2 / 3) / 0.7, (0.2 + 0.2 / 3) / 0.7, 0.2 / 3 / 0.7]


def point(raw: Tensor) -> FactorisedCount:
    """Shares from all columns but the last, the count from the last."""
    return FactorisedCount(raw[:, :-1], PointCount(raw[:, -1]))


def rate(raw: Tensor) -> FactorisedCount:
    return FactorisedCount(raw[:, :-1], PoissonCount(raw[:, -1]))


def mean_and_size(raw: Tensor) -> FactorisedCount:
    return FactorisedCount(raw[:, :-2], NegativeBinomialCount(raw[:, -2], raw[:, -1]))


def chances(raw: Tensor) -> FactorisedCount:
    """Shares of three labels, and the logits of 0 to 3 labels."""
    return FactorisedCount(raw[:, :3], CategoricalCount(raw[:, 3:]))


@pytest.fixture
def rows() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    raw, y = random.normal(size=(60, 5)), (random.random((60, 4)) < 0.4).astype(float)
    assert (y.sum(1) == 0).any()
    return raw, y


def kl(raw: np.ndarray, y: np.ndarray) -> np.ndarray:
    """KL(y/n ‖ softmax), and 0 for a row without labels."""
    return np.array(
        [
            rel_entr(t / t.sum(), softmax(z)).sum() if t.any() else 0.0
            for z, t in zip(raw[:, :-1], y, strict=True)
        ]
    )


@pytest.mark.parametrize(("share", "count"), [(1.0, 1.0), (0.5, 3.0), (1.0, 0.0), (0.0, 1.0)])
def test_squared_error_equals_the_written_out_formula(
    share: float, count: float, rows: tuple[np.ndarray, np.ndarray]
) -> None:
    raw, y = rows
    loss = factorised_loss("squared_error", share, count)
    expected = share * kl(raw, y) + count * (raw[:, -1] - y.sum(1)) ** 2
    np.testing.assert_allclose(loss(point(torch.from_numpy(raw)), torch.from_numpy(y)), expected, atol=1e-12)


def test_poisson_equals_scipy(rows: tuple[np.ndarray, np.ndarray]) -> None:
    raw, y = rows
    expected = kl(raw, y) - poisson(np.exp(raw[:, -1])).logpmf(y.sum(1))
    np.testing.assert_allclose(
        POISSON(rate(torch.from_numpy(raw)), torch.from_numpy(y)), expected, atol=1e-12
    )


def test_squared_error_of_a_poisson_count_compares_its_mean() -> None:
    raw = torch.tensor([[0.0, 0.0, math.log(3.0)]])
    # Even shares of two true labels: no KL; (3 - 2)² is left.
    assert SQUARED(rate(raw), torch.ones(1, 2)).tolist() == pytest.approx([1.0])


def test_the_kl_is_zero_at_even_shares_of_the_true_labels() -> None:
    raw = torch.tensor([[50.0, 50.0, 50.0, 0.0, 3.0]])
    assert SQUARED(point(raw), torch.tensor([[1.0, 1, 1, 0]])).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("loss", "build"), [(SQUARED, point), (POISSON, rate)])
def test_a_row_without_labels_keeps_its_count_term_alone(loss, build) -> None:  # type: ignore[no-untyped-def]
    raw = torch.tensor([[1.0, -2.0, 0.5, 0.7]], dtype=torch.float64, requires_grad=True)
    value_B = loss(build(raw), torch.zeros(1, 3, dtype=torch.float64))
    value_B.sum().backward()
    assert not loss.ignores_empty_rows
    # (.7 - 0)², and the Poisson probability of 0, e^-λ.
    assert value_B.item() == pytest.approx(0.49 if loss is SQUARED else math.exp(0.7))
    assert raw.grad is not None
    assert raw.grad[0, :3].tolist() == [0, 0, 0]
    assert raw.grad[0, 3].item() == pytest.approx(1.4 if loss is SQUARED else math.exp(0.7))


@pytest.mark.parametrize(("loss", "build"), [(SQUARED, point), (SQUARED, rate), (POISSON, rate)])
def test_gradient_by_finite_differences(loss, build) -> None:  # type: ignore[no-untyped-def]
    raw = torch.randn(4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda r: loss(build(r), SETS_SL), raw)


@pytest.mark.parametrize(("loss", "build"), [(SQUARED, point), (SQUARED, rate), (POISSON, rate)])
def test_optimum_is_the_mean_count_and_the_mean_shares(loss, build) -> None:  # type: ignore[no-untyped-def]
    raw = optimal_raw(loss, build, 4, SETS_SL, CHANCE_S)
    linked = loss.link(build(raw[None]))
    assert isinstance(linked, FactorisedCount)
    assert linked.expected_count().item() == pytest.approx(MEAN_COUNT, abs=1e-6)
    assert linked.log_shares().exp()[0].tolist() == pytest.approx(MEAN_SHARES, abs=1e-6)


@pytest.mark.parametrize(("loss", "build"), [(SQUARED, point), (SQUARED, rate), (POISSON, rate)])
def test_extreme_raw_tensors_stay_finite(loss, build) -> None:  # type: ignore[no-untyped-def]
    raw = torch.tensor([[1e4, -1e4, 30.0], [-1e4, 1e4, -1e4]], requires_grad=True)
    value_B = loss(build(raw), torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
    value_B.sum().backward()
    assert value_B.isfinite().all()
    assert raw.grad is not None
    assert raw.grad.isfinite().all()


@pytest.mark.parametrize("count_loss", ["squared_error", "poisson_nll"])
def test_weights_scale_their_own_term(count_loss: CountLoss) -> None:
    raw, y = torch.randn(5, 4, dtype=torch.float64), torch.ones(5, 3, dtype=torch.float64)

    def value(share: float, count: float) -> Tensor:
        result: Tensor = factorised_loss(count_loss, share, count)(rate(raw), y)
        return result

    torch.testing.assert_close(value(2.0, 3.0), 2 * value(1.0, 0.0) + 3 * value(0.0, 1.0))
    expected = -log_softmax(raw[:, :3].numpy(), axis=1).mean(1) - math.log(3)
    np.testing.assert_allclose(value(1.0, 0.0), expected, atol=1e-12)


@pytest.mark.parametrize(("loss", "build"), [(SQUARED, point), (POISSON, rate)])
def test_a_row_with_unknown_labels_has_no_count_term(loss, build) -> None:  # type: ignore[no-untyped-def]
    # Two of the three known labels are true and share evenly: no KL, whatever the count.
    raw = torch.tensor([[1.0, 1.0, -50.0, 7.0, 0.7]], dtype=torch.float64, requires_grad=True)
    value_B = loss(build(raw), torch.tensor([[1.0, 1.0, 0.0, torch.nan]], dtype=torch.float64))
    value_B.sum().backward()
    assert value_B.item() == pytest.approx(0, abs=1e-9)
    assert raw.grad is not None
    assert not raw.grad[0, 3:].any()


def test_the_prior_is_the_share_of_the_rows_that_are_known_in_full() -> None:
    some = dataclasses.replace(LABELS, rows=1000)
    loss = FactorisedLoss(
        labels=some, count_loss="categorical_map", share_weight=0, count_weight=1, count_prior_weight=1
    )
    assert loss.count_prior_K.tolist() == pytest.approx([0.3, 0.1, 0.4, 0.2])


def test_without_a_row_that_is_known_in_full_the_prior_says_nothing() -> None:
    none = dataclasses.replace(LABELS, count_histogram_K=torch.zeros(1).double())
    loss = FactorisedLoss(
        labels=none, count_loss="categorical_map", share_weight=0, count_weight=1, count_prior_weight=1
    )
    assert loss.count_prior_K.tolist() == [0, 0]


def test_poisson_likelihood_refuses_a_point_count() -> None:
    with pytest.raises(PairingError, match="PointCount"):
        POISSON.check(point(torch.zeros(1, 3)))
    POISSON.check(rate(torch.zeros(1, 3)))
    SQUARED.check(point(torch.zeros(1, 3)))
    SQUARED.check(rate(torch.zeros(1, 3)))


def test_independent_labels_are_refused() -> None:
    with pytest.raises(PairingError, match="IndependentLabels"):
        POISSON.check(IndependentLabels(torch.zeros(1, 2)))


RICHER = pytest.mark.parametrize(
    ("loss", "build", "size"),
    [
        (NEGATIVE_BINOMIAL, mean_and_size, 5),
        (CATEGORICAL, chances, 7),
        (factorised_loss("categorical_map", prior=0.5), chances, 7),
    ],
)


@RICHER
def test_gradient_of_richer_counts_by_finite_differences(loss, build, size) -> None:  # type: ignore[no-untyped-def]
    raw = torch.randn(4, size, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda r: loss(build(r), SETS_SL), raw)


@RICHER
def test_extreme_raw_tensors_of_richer_counts_stay_finite(loss, build, size) -> None:  # type: ignore[no-untyped-def]
    for value in (-1e4, -60.0, 60.0):
        raw = torch.full((4, size), -value)
        raw[:, 3] = value
        raw[:, -1] = -60
        raw.requires_grad_()
        loss_B = loss(build(raw), SETS_SL.float())
        loss_B.sum().backward()
        assert raw.grad is not None
        assert loss_B.isfinite().all() or value == 60  # exp(60) labels are expected, and so is the loss
        assert raw.grad.isfinite().all()


@pytest.mark.parametrize("prior", [0.0, 0.5])
def test_optimum_of_a_categorical_count_is_its_chance_drawn_to_the_training_counts(prior: float) -> None:
    loss = factorised_loss("categorical_map", prior=prior)
    raw = optimal_raw(loss, chances, 7, SETS_SL, CHANCE_S)
    linked = loss.link(chances(raw[None]))
    assert isinstance(linked, FactorisedCount)
    # Sets of 0, 1, 2 and 3 labels; the prior is worth `prior` rows of the training histogram.
    expected = (CHANCE_S + prior * torch.tensor([0.3, 0.1, 0.4, 0.2])) / (1 + prior)
    assert linked.cardinality()[0].tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    assert linked.log_shares().exp()[0].tolist() == pytest.approx(MEAN_SHARES, abs=1e-6)


def test_optimum_of_a_negative_binomial_count_is_the_mean_count() -> None:
    # Counts that vary more than Poisson's, so that the size has an optimum: 0 or 3 labels.
    sets_SL, chance_S = SETS_SL[[0, 3]], torch.tensor([0.6, 0.4]).double()
    raw = optimal_raw(NEGATIVE_BINOMIAL, mean_and_size, 5, sets_SL, chance_S)
    assert mean_and_size(raw[None]).expected_count().item() == pytest.approx(1.2, abs=1e-5)
    assert 0 < math.exp(raw[-1].item()) < 10


@pytest.mark.parametrize(
    ("loss", "wrong"),
    [
        (SQUARED, mean_and_size),
        (SQUARED, chances),
        (POISSON, chances),
        (CATEGORICAL, rate),
        (NEGATIVE_BINOMIAL, rate),
    ],
)
def test_a_count_loss_refuses_other_counts_by_name(loss, wrong) -> None:  # type: ignore[no-untyped-def]
    output = wrong(torch.zeros(1, 7))
    with pytest.raises(PairingError, match=f"{loss.count_loss} trains .*gives {type(output.count).__name__}"):
        loss.check(output)


def test_what_is_beside_the_shares_is_the_count_term_less_the_entropy_of_the_targets() -> None:
    predicted, n = np.array([2.5, 0.5, 4.0, 2.0]), np.array([1.0, 0.0, 3.0, 4.0])
    whole = np.array([True, True, True, False])  # what is known of the last row says nothing about its count
    found_B = factorised_loss("squared_error", share=0.5, count=3.0).beside_shares(
        PointCount(torch.from_numpy(predicted)), torch.from_numpy(n), torch.from_numpy(whole), largest=4
    )
    entropy = np.array([0, 0, math.log(3), math.log(4)])
    np.testing.assert_allclose(found_B, 3 * whole * (predicted - n) ** 2 - 0.5 * entropy, rtol=1e-12)


def test_what_is_beside_the_shares_reads_counts_up_to_the_largest() -> None:
    count = NegativeBinomialCount(torch.zeros(2).double(), torch.ones(2).double())
    n_B, whole_B = torch.tensor([7.0, 0.0]).double(), torch.ones(2, dtype=torch.bool)
    found_B = NEGATIVE_BINOMIAL.beside_shares(count, n_B, whole_B, largest=7)
    expected = -nbinom(math.e, math.e / (math.e + 1)).logpmf([7, 0]) - [math.log(7), 0]
    np.testing.assert_allclose(found_B, expected, rtol=1e-10)
