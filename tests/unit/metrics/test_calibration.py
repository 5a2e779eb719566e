import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss
from sklearn.metrics import log_loss as sklearn_log_loss
from torchmetrics.functional.classification import binary_calibration_error

from mlc.metrics import calibration
from mlc.metrics.calibration import (
    calibration_metrics,
    calibration_sums,
    label_calibration_error,
    log_loss,
    log_loss_sums,
    reliability,
)
from tests.unit.metrics.cases import known_labels, random_case, random_weights, with_unknown


def ece_by_formula(p, y, bins=15):
    """Σ_b (n_b / N) |frequency_b - confidence_b|, row by row."""
    total = 0.0
    for b in range(bins):
        inside = [i for i in range(len(p)) if min(bins - 1, int(p[i] * bins)) == b]
        if inside:
            gap = np.mean([y[i] for i in inside]) - np.mean([p[i] for i in inside])
            total += len(inside) / len(p) * abs(gap)
    return total


@pytest.mark.parametrize("seed", range(3))
def test_label_error_equals_the_formula_and_torchmetrics(seed):
    case = random_case(seed, ties=False, rows=300)
    p, y = case.probabilities, case.y
    found = label_calibration_error(calibration_sums(p, y))
    by_formula = [ece_by_formula(p[:, label].double().tolist(), y[:, label].tolist()) for label in range(7)]
    assert found.tolist() == pytest.approx(by_formula, abs=1e-7)
    columns = zip(p.T.contiguous(), y.T.int().contiguous(), strict=True)
    reference = [float(binary_calibration_error(*column, n_bins=15)) for column in columns]
    assert found.tolist() == pytest.approx(reference, abs=1e-6)


def test_classwise_error_is_the_mean_over_labels():
    case = random_case(0)
    sums = calibration_sums(case.probabilities, case.y)
    expected = float(label_calibration_error(sums).mean())
    assert calibration_metrics(sums)["classwise_ece"] == expected


def test_brier_and_log_loss_equal_scikit_learn():
    case = random_case(1)
    p, y = case.probabilities.double(), case.y
    columns = list(zip(y.T.numpy(), p.T.numpy(), strict=True))
    brier = np.mean([brier_score_loss(*column) for column in columns])
    nats = np.mean([sklearn_log_loss(*column, labels=[0, 1]) for column in columns])
    assert calibration_metrics(calibration_sums(p, y))["brier"] == pytest.approx(brier)
    assert log_loss(log_loss_sums(p, y)) == pytest.approx(nats)


def test_log_loss_of_a_certainty_that_fails_is_bounded():
    found = log_loss(log_loss_sums(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.0]])))
    assert found == pytest.approx(-np.log(1e-7) / 2)


@pytest.mark.parametrize("labels", [1, 3, 4, 7, 8, 42])
def test_log_loss_of_any_number_of_labels(labels):
    """Several probabilities share a logarithm, also where nothing was right and their product is tiny."""
    g = torch.Generator().manual_seed(labels)
    y = (torch.rand(5, labels, generator=g) < 0.5).float()
    assert log_loss(log_loss_sums(1 - y, y)) == pytest.approx(-np.log(1e-7), rel=1e-6)
    p = torch.rand(5, labels, generator=g)
    expected = torch.nn.functional.binary_cross_entropy(p.double(), y.double())
    assert log_loss(log_loss_sums(p, y)) == pytest.approx(float(expected), rel=1e-6)


def test_log_loss_keeps_its_precision_near_certainty():
    logits = torch.tensor([[9.0, -9.0, 12.0]])
    found = log_loss(log_loss_sums(torch.sigmoid(logits), torch.tensor([[1.0, 0.0, 1.0]])))
    assert found == pytest.approx(float(torch.log1p(torch.exp(-logits.double().abs())).mean()), rel=1e-2)


def test_scores_beyond_one_fall_into_the_last_bin_with_their_value():
    sums = calibration_sums(torch.tensor([[1.5], [-0.5]]), torch.tensor([[1.0], [0.0]]))
    assert sums.rows_KL[[0, -1], 0].tolist() == [1, 1]
    assert sums.probability_KL[[0, -1], 0].tolist() == [-0.5, 1.5]
    assert float(label_calibration_error(sums)) == 0.5
    assert calibration_metrics(sums)["brier"] == pytest.approx(0.25, rel=1e-12)


def test_reliability_points():
    p = torch.tensor([[0.1, 0.95], [0.12, 1.0], [0.5, 0.94]])
    y = torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
    found = reliability(calibration_sums(p, y))
    assert found.per_label.rows.shape == (2, 15)
    assert found.per_label.rows[0, [1, 7]].tolist() == [2, 1]
    assert found.per_label.probability[0, 1] == pytest.approx(0.11)
    assert found.per_label.frequency[1, 14] == pytest.approx(2 / 3)
    assert found.per_label.frequency[1, 0].isnan()
    assert found.overall.rows.tolist() == found.per_label.rows.sum(0).tolist()
    assert found.overall.probability[14] == pytest.approx((0.95 + 1 + 0.94) / 3)


@pytest.mark.parametrize("seed", range(3))
def test_labels_count_the_rows_in_which_they_are_known(seed):
    case = with_unknown(random_case(seed, ties=False))
    sums = calibration_sums(case.probabilities, case.y)
    columns = [(torch.from_numpy(scores).sigmoid().double(), y) for _, scores, y in known_labels(case)]
    by_formula = [ece_by_formula(p.tolist(), y.tolist()) for p, y in columns]
    assert label_calibration_error(sums).tolist() == pytest.approx(by_formula, abs=1e-7)
    p, y = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    assert calibration_metrics(sums)["classwise_ece"] == pytest.approx(np.mean(by_formula))
    assert calibration_metrics(sums)["brier"] == pytest.approx(brier_score_loss(y, p))
    nats = log_loss(log_loss_sums(case.probabilities, case.y))
    assert nats == pytest.approx(sklearn_log_loss(y, p), rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_weights_equal_scikit_learns(seed):
    case, weight = with_unknown(random_case(seed)), random_weights(seed)
    known = ~case.y.isnan()
    p, y = case.probabilities.double()[known], case.y[known].int()
    w = weight.double()[:, None].expand(known.shape)[known]
    sums = calibration_sums(case.probabilities.double(), case.y, weight)
    brier = brier_score_loss(y.numpy(), p.numpy(), sample_weight=w.numpy())
    assert calibration_metrics(sums)["brier"] == pytest.approx(brier)
    nats = log_loss(log_loss_sums(case.probabilities.double(), case.y, weight))
    assert nats == pytest.approx(sklearn_log_loss(y.numpy(), p.numpy(), sample_weight=w.numpy()))


def test_a_label_that_is_nowhere_known_is_in_no_mean():
    case = random_case(0)
    y = case.y.clone()
    y[:, 3] = torch.nan
    sums, others = calibration_sums(case.probabilities, y), [0, 1, 2, 4, 5, 6]
    expected = calibration_metrics(calibration_sums(case.probabilities[:, others], y[:, others]))
    assert calibration_metrics(sums) == pytest.approx(expected)
    assert label_calibration_error(sums).isnan().nonzero().tolist() == [[3]]
    assert reliability(sums).per_label.rows[3].sum() == 0


@pytest.mark.parametrize("share", [0.0, 0.05, 1.0])
def test_entries_in_the_lowest_bin_may_be_summed_apart(monkeypatch, share):
    """Both ways, with none, few and all entries above the lowest bin, and with scores outside of 0..1."""
    g = torch.Generator().manual_seed(0)
    p = torch.rand(200, 5, generator=g) / 16
    p[torch.rand(200, 5, generator=g) < share] = 0.9
    p[:3] -= 1 if share < 1 else -1
    y = (torch.rand(200, 5, generator=g) < 0.3).float()
    y[:, 4] = 0
    monkeypatch.setattr(calibration, "_FEW", 1)
    apart = calibration_sums(p, y)
    monkeypatch.setattr(calibration, "_FEW", -1)
    together = calibration_sums(p, y)
    torch.testing.assert_close(apart, together, rtol=1e-12, atol=1e-12)
    assert apart.rows_KL.tolist() == together.rows_KL.tolist()
    torch.testing.assert_close(reliability(apart), reliability(together), equal_nan=True)
