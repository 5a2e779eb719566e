import math

import pytest
import torch
from sklearn.metrics import average_precision_score, precision_recall_curve
from torchmetrics.functional.classification import multilabel_average_precision

from mlc.metrics import average_precision as module
from mlc.metrics.average_precision import average_precision, label_mean
from tests.unit.metrics.cases import known_labels, random_case, random_weights, with_unknown


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("block_cells", [1, 200, 2**20])
def test_labels_equal_scikit_learn(monkeypatch, seed, ties, block_cells):
    monkeypatch.setattr(module, "CELLS", block_cells)
    case = random_case(seed, ties=ties)
    _, scores, y = case.numpy()
    found = average_precision(case.scores.split(13), case.y.split(13))
    expected = [average_precision_score(y[:, label], scores[:, label]) for label in range(1, 7)]
    assert found.ap_L[1:].tolist() == pytest.approx(expected)
    assert found.ap_L[0].isnan()
    assert found.error_bound_L[1:].tolist() == [0] * 6


def test_mean_leaves_out_labels_without_positives_and_equals_torchmetrics():
    case = random_case(0)
    found = average_precision([case.scores], [case.y])
    mean = multilabel_average_precision(case.probabilities[:, 1:], case.y[:, 1:].int(), 6)
    assert label_mean(found.ap_L) == pytest.approx(float(mean))


def test_no_positives_at_all():
    found = average_precision([torch.rand(5, 3)], [torch.zeros(5, 3)])
    assert label_mean(found.ap_L) is None
    assert all(values.isnan().all() for values in (found.precision_LC, found.recall_LC))


@pytest.mark.parametrize("seed", range(2))
def test_curve_points_are_the_first_of_scikit_learns_to_reach_their_recall(seed):
    case = random_case(seed)
    _, scores, y = case.numpy()
    found = average_precision([case.scores], [case.y])
    for label in range(1, 7):
        precision, recall, _ = precision_recall_curve(y[:, label], scores[:, label])
        n = y[:, label].sum()
        for point in range(module.CURVE_POINTS):
            # scikit-learn's curve runs from the lowest threshold to the highest.
            reaching = (recall * n).round() >= math.ceil((point + 1) * n / module.CURVE_POINTS)
            last = reaching.nonzero()[0].max()
            assert float(found.precision_LC[label, point]) == pytest.approx(precision[last])
            assert float(found.recall_LC[label, point]) == pytest.approx(recall[last])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("block_cells", [1, 200, 2**20])
def test_labels_rank_the_rows_in_which_they_are_known(monkeypatch, seed, block_cells):
    monkeypatch.setattr(module, "CELLS", block_cells)
    case = with_unknown(random_case(seed))
    found = average_precision(case.scores.split(13), case.y.split(13))
    columns = known_labels(case)
    expected = [average_precision_score(y, scores) for _, scores, y in columns[1:]]
    assert found.ap_L[1:].tolist() == pytest.approx(expected)
    for label in range(1, 7):
        _, scores, y = (torch.from_numpy(values)[:, None] for values in columns[label])
        alone = average_precision([scores], [y])
        assert found.precision_LC[label].tolist() == alone.precision_LC[0].tolist()
        assert found.recall_LC[label].tolist() == alone.recall_LC[0].tolist()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("block_cells", [1, 2**20])
def test_weights_equal_scikit_learns(monkeypatch, seed, block_cells):
    monkeypatch.setattr(module, "CELLS", block_cells)
    case, weight = with_unknown(random_case(seed)), random_weights(seed)
    found = average_precision(case.scores.split(13), case.y.split(13), weight)
    w = weight.double().numpy()
    for label in range(1, 7):
        known = ~case.y[:, label].isnan().numpy()
        y, scores, w_label = case.y[known, label].numpy(), case.scores[known, label].numpy(), w[known]
        expected = average_precision_score(y, scores, sample_weight=w_label)
        assert float(found.ap_L[label]) == pytest.approx(expected)
        precision, recall, _ = precision_recall_curve(y, scores, sample_weight=w_label)
        for point in range(module.CURVE_POINTS):
            last = (recall >= (point + 1) / module.CURVE_POINTS - 1e-12).nonzero()[0].max()
            assert float(found.precision_LC[label, point]) == pytest.approx(precision[last])
            assert float(found.recall_LC[label, point]) == pytest.approx(recall[last])


def test_equal_weights_give_the_points_of_counting():
    scores, y = torch.randn(50, 1, generator=torch.Generator().manual_seed(0)), torch.ones(50, 1)
    y[::3] = 0
    counted = average_precision([scores], [y])
    weighed = average_precision([scores], [y], torch.full((50,), 0.1))
    torch.testing.assert_close(weighed, counted)


def test_a_label_whose_positives_weigh_nothing_has_no_value():
    found = average_precision(
        [torch.rand(3, 1)], [torch.tensor([[1.0], [0.0], [0.0]])], torch.tensor([0, 1, 1])
    )
    assert all(values.isnan().all() for values in found)
