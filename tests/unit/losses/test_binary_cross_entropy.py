from typing import Literal

import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn.metrics import log_loss

from mlc.batch import LabelStatistics
from mlc.errors import UserError
from mlc.losses.base import PairingError
from mlc.losses.binary_cross_entropy import BinaryCrossEntropy
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.shares import LabelShares
from tests.unit.label_statistics import labels_with
from tests.unit.losses.checks import P_GRID, assert_finite_at_extremes, losses, statistics
from tests.unit.losses.expected import optimal_logits

ROWS = 100
POSITIVES = [50.0, 20.0, 2.0]
LABELS = labels_with(POSITIVES, rows=ROWS)


def bce(
    positive_weight: float | Literal["balanced"] | list[float] = 1.0,
    cap: float = 100.0,
    label_weight: Literal["equal", "balanced"] = "equal",
    labels: LabelStatistics = LABELS,
    smoothing: float = 0.0,
) -> BinaryCrossEntropy:
    return BinaryCrossEntropy(
        labels=labels,
        positive_weight=positive_weight,
        max_positive_weight=cap,
        label_weight=label_weight,
        label_smoothing=smoothing,
    )


def written_out(
    z: np.ndarray, y: np.ndarray, w: np.ndarray, a: np.ndarray, smoothing: float = 0.0
) -> np.ndarray:
    """-Σ_l a_l [w_l t_l log σ(z_l) + (1 - t_l) log(1 - σ(z_l))], targets moved from 0 and 1 by s/2."""
    p, y = expit(z), np.where(y == 1, 1 - smoothing / 2, smoothing / 2)
    total: np.ndarray = -(a * (w * y * np.log(p) + (1 - y) * np.log(1 - p))).sum(1)
    return total


@pytest.fixture
def rows() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.normal(size=(40, 3)) * 3, (random.random((40, 3)) < 0.4).astype(float)


def test_unweighted_equals_scikit_learn_summed_over_labels(rows: tuple[np.ndarray, np.ndarray]) -> None:
    z, y = rows
    mean = bce()(IndependentLabels(torch.from_numpy(z)), torch.from_numpy(y)).mean().item()
    expected = sum(log_loss(y[:, label], expit(z[:, label])) for label in range(3))
    assert mean == pytest.approx(expected, rel=1e-9)


# Negatives per positive: 50/50, 80/20, 98/2. Label weights: 1/50, 1/20, 1/2 over their mean .19.
BALANCED_W = [1.0, 4.0, 49.0]
BALANCED_A = [0.02 / 0.19, 0.05 / 0.19, 0.5 / 0.19]


@pytest.mark.parametrize(
    ("loss", "w", "a"),
    [
        (bce(), [1, 1, 1], [1, 1, 1]),
        (bce(5), [5, 5, 5], [1, 1, 1]),
        (bce(0.2), [0.2, 0.2, 0.2], [1, 1, 1]),
        (bce("balanced"), BALANCED_W, [1, 1, 1]),
        (bce("balanced", cap=10), [1, 4, 10], [1, 1, 1]),
        (bce(label_weight="balanced"), [1, 1, 1], BALANCED_A),
        (bce("balanced", label_weight="balanced"), BALANCED_W, BALANCED_A),
        (bce([2.0, 0.5, 300.0]), [2, 0.5, 300], [1, 1, 1]),
    ],
)
def test_equals_the_written_out_formula(
    loss: BinaryCrossEntropy, w: list[float], a: list[float], rows: tuple[np.ndarray, np.ndarray]
) -> None:
    z, y = rows
    expected = written_out(z, y, np.array(w, dtype=float), np.array(a))
    actual = loss(IndependentLabels(torch.from_numpy(z)), torch.from_numpy(y))
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_balanced_weights_of_labels_never_or_nearly_always_true_are_capped_on_both_sides() -> None:
    labels = labels_with([0.0, 999.0, 1000.0], rows=1000)
    linked = bce("balanced", cap=20, labels=labels).link(IndependentLabels(torch.zeros(1, 3)))
    assert isinstance(linked, IndependentLabels)
    expected = [-np.log(20), np.log(20), np.log(20)]
    assert linked.logits_BL[0].tolist() == pytest.approx(expected, rel=1e-6)


def test_balanced_label_weights_stay_finite_for_a_label_without_positives() -> None:
    labels = labels_with([0.0, 10.0], rows=20)
    loss_B = bce(label_weight="balanced", labels=labels)(
        IndependentLabels(torch.zeros(1, 2)), torch.zeros(1, 2)
    )
    assert loss_B.isfinite().all()
    assert loss_B.item() == pytest.approx(2 * np.log(2), rel=1e-6)  # label weights have mean 1


def test_balanced_weights_count_the_rows_in_which_a_label_is_known() -> None:
    # 30 known negatives beside 10 positives; the second label is never known, so it has no weight of its own.
    labels = labels_with([10.0, 0.0], rows=100, known=[40.0, 0.0])
    linked = bce("balanced", labels=labels).link(IndependentLabels(torch.zeros(1, 2)))
    assert linked.score_logits()[0].tolist() == pytest.approx([-np.log(3), 0])


def test_an_unknown_label_leaves_out_its_term_and_no_weight(rows: tuple[np.ndarray, np.ndarray]) -> None:
    z, y = rows
    loss, w, a = bce("balanced", label_weight="balanced"), np.array(BALANCED_W), np.array(BALANCED_A)
    terms = np.stack([written_out(z[:, [j]], y[:, [j]], w[j], a[j]) for j in range(3)], axis=1)
    unknown = np.random.default_rng(1).random(y.shape) < 0.4
    found = losses(loss, z, np.where(unknown, np.nan, y))
    np.testing.assert_allclose(found, (terms * ~unknown).sum(1), rtol=1e-6)


@pytest.mark.parametrize("weight", [1.0, 20.0])
def test_gradient_by_finite_differences(weight: float) -> None:
    y_BL = torch.tensor([[1.0, 0, 1], [0, 0, 0]], dtype=torch.float64)
    z_BL = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    loss = bce(weight, label_weight="balanced")
    assert torch.autograd.gradcheck(lambda z: loss(IndependentLabels(z), y_BL), z_BL)


def test_confident_mistakes_cost_their_logit_and_keep_their_gradient() -> None:
    z_BL = torch.tensor([[-1e4, 1e4, 1e4]], requires_grad=True)
    loss_B = bce()(IndependentLabels(z_BL), torch.tensor([[1.0, 0.0, 1.0]]))
    loss_B.sum().backward()
    assert loss_B.item() == pytest.approx(2e4)
    assert z_BL.grad is not None
    assert z_BL.grad[0].tolist() == [-1, 1, 0]


@pytest.mark.parametrize("weight", [1.0, 5.0, 20.0, 0.1])
def test_link_returns_the_probability_that_the_loss_was_trained_on(weight: float) -> None:
    labels = labels_with([10.0] * len(P_GRID), rows=100)
    loss = bce(weight, labels=labels)
    linked = loss.link(IndependentLabels(optimal_logits(loss, P_GRID)))
    assert linked.marginals()[0].tolist() == pytest.approx(P_GRID, rel=1e-4)


@pytest.mark.parametrize("p", P_GRID)
@pytest.mark.parametrize("label_weight", ["equal", "balanced"])
def test_link_undoes_balanced_weights(p: float, label_weight: Literal["equal", "balanced"]) -> None:
    loss = bce("balanced", cap=30, label_weight=label_weight)
    linked = loss.link(IndependentLabels(optimal_logits(loss, [p] * 3)))
    assert linked.marginals()[0].tolist() == pytest.approx([p] * 3, rel=1e-4)


def test_without_the_link_a_weight_distorts() -> None:
    # Guards the tests above: σ of the optimum alone is far from p = .1.
    assert optimal_logits(bce(20.0), [0.1, 0.1, 0.1]).sigmoid().min() > 0.6


@pytest.mark.parametrize("smoothing", [0.01, 0.3])
def test_smoothed_it_equals_the_written_out_formula(
    smoothing: float, rows: tuple[np.ndarray, np.ndarray]
) -> None:
    z, y = rows
    w, a = np.array([1.0, 4.0, 49.0]), np.array(BALANCED_A)
    actual = losses(bce("balanced", label_weight="balanced", smoothing=smoothing), z, y)
    np.testing.assert_allclose(actual, written_out(z, y, w, a, smoothing), rtol=1e-6)


def test_a_list_of_weights_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(UserError, match=r"loss\.positive_weight has 2 numbers, and the data have 3 labels"):
        bce([1.0, 2.0])


@pytest.mark.parametrize("weight", [1.0, 5.0, 20.0])
@pytest.mark.parametrize("smoothing", [0.01, 0.1, 0.5, 0.9])
def test_link_undoes_smoothing(weight: float, smoothing: float) -> None:
    loss = bce(weight, labels=statistics([10.0] * len(P_GRID), 100), smoothing=smoothing)
    linked = loss.link(IndependentLabels(optimal_logits(loss, P_GRID)))
    assert linked.marginals()[0].tolist() == pytest.approx(P_GRID, rel=1e-3)


def test_without_the_link_smoothing_distorts() -> None:
    assert optimal_logits(bce(smoothing=0.1), [0.001] * 3).sigmoid().min() > 0.05


@pytest.mark.parametrize("smoothing", [1e-6, 0.1, 0.99])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_beyond_what_smoothing_allows_the_link_keeps_order_and_stays_inside(
    smoothing: float, dtype: torch.dtype
) -> None:
    z_BL = torch.arange(-60, 60, 0.05, dtype=dtype)[:, None].expand(-1, 3)
    linked = bce(smoothing=smoothing).link(IndependentLabels(z_BL))
    assert linked.score_logits().isfinite().all()
    assert (linked.score_logits().diff(dim=0) > 0).all()
    assert linked.log_prob(torch.ones_like(z_BL)).isfinite().all()


def test_smoothed_extremes_stay_finite() -> None:
    assert_finite_at_extremes(bce(5.0, smoothing=0.1))


@pytest.mark.parametrize("weight", [1.0, 5.0, 20.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_link_recovers_probabilities_from_simulated_data(weight: float, smoothing: float) -> None:
    # Rows in groups of known p(x); one logit per group and label, fitted by minimising the loss.
    random = np.random.default_rng(0)
    p_GL = np.stack([random.permutation([0.02, 0.1, 0.3, 0.5, 0.7, 0.95]) for _ in range(3)], axis=1)
    group_N = np.repeat(np.arange(6), 2000)
    y_NL = torch.from_numpy((random.random((12000, 3)) < p_GL[group_N]).astype(float))
    loss = bce(weight, labels=LabelStatistics.from_targets(y_NL), smoothing=smoothing)
    logits_GL = torch.zeros(6, 3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [logits_GL], max_iter=200, tolerance_grad=1e-10, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value: torch.Tensor = loss(IndependentLabels(logits_GL[group_N]), y_NL).mean()
        value.backward()
        return value

    optimizer.step(closure)
    found_GL = loss.link(IndependentLabels(logits_GL.detach())).marginals().numpy()
    frequency_GL = np.stack([y_NL[group_N == g].mean(0).numpy() for g in range(6)])
    np.testing.assert_allclose(found_GL, frequency_GL, atol=1e-4)
    assert (np.abs(found_GL - p_GL) < 4 * np.sqrt(p_GL * (1 - p_GL) / 2000)).all()


def test_weights_are_no_part_of_what_is_saved() -> None:
    assert not bce("balanced").state_dict()


def test_shares_are_refused() -> None:
    with pytest.raises(PairingError, match="LabelShares"):
        bce().check(LabelShares(torch.zeros(1, 3)))
