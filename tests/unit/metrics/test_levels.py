import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from mlc.errors import UserError
from mlc.metrics.accumulators import SumAccumulator
from mlc.metrics.levels import label_kappa, level_metrics, level_sums
from mlc.metrics.suite import EvaluationSuite
from tests.unit.metrics.cases import random_weights

K = 4


def random_levels(seed, *, unknown=True):
    """Decided and true levels of 60 rows and 5 labels: near one another, and in some rows all right."""
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(0, K, (60, 5), generator=g)
    levels = (y + torch.randint(-1, 2, y.shape, generator=g)).clamp(0, K - 1)
    levels[::4] = y[::4]
    y = y.float()
    if unknown:
        y[torch.rand(y.shape, generator=g) < 0.3] = torch.nan
        y[7] = torch.nan
    return levels, y


def metrics_of(levels, y, weight=None):
    return level_metrics(level_sums(levels, y, weight, n_levels=K))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_equal_scikit_learn(seed, unknown, weighted):
    levels, y = random_levels(seed, unknown=unknown)
    weight = random_weights(seed) if weighted else torch.ones(60)
    w = weight.double().numpy()
    found = metrics_of(levels, y, weight if weighted else None)
    known = ~y.isnan().numpy()
    true, decided, w_entry = (
        y.numpy()[known],
        levels.numpy()[known],
        np.broadcast_to(w[:, None], (60, 5))[known],
    )
    accuracy = sk.accuracy_score(true, decided, sample_weight=w_entry)
    assert found["level_accuracy"] == pytest.approx(accuracy)
    mae = sk.mean_absolute_error(true, decided, sample_weight=w_entry)
    assert found["level_mae"] == pytest.approx(mae)
    rows = [row for row in range(60) if known[row].any()]
    exact = [(y[row] == levels[row])[known[row]].all() for row in rows]
    assert found["level_exact"] == pytest.approx(np.average(exact, weights=w[rows]))
    kappa = [
        sk.cohen_kappa_score(
            y[known[:, label], label].int().numpy(),
            levels[known[:, label], label].numpy(),
            weights="quadratic",
            labels=range(K),
            sample_weight=w[known[:, label]],
        )
        for label in range(5)
    ]
    assert found["level_quadratic_kappa"] == pytest.approx(np.mean(kappa))


def test_by_hand():
    levels = torch.tensor([[0, 3], [2, 1], [1, 0]])
    y = torch.tensor([[0, 1], [2, 1], [torch.nan, 2]])
    found = metrics_of(levels, y)
    assert found["level_accuracy"] == 3 / 5
    assert found["level_mae"] == (0 + 2 + 0 + 0 + 2) / 5
    assert found["level_exact"] == 1 / 3


def test_a_label_with_one_level_has_no_kappa():
    sums = level_sums(torch.tensor([[1, 1], [1, 0]]), torch.tensor([[1.0, 1.0], [1.0, 0.0]]), n_levels=K)
    assert label_kappa(sums).isnan().tolist() == [True, False]
    assert level_metrics(sums)["level_quadratic_kappa"] == 1
    constant = torch.ones(3, 2)
    assert metrics_of(constant.long(), constant)["level_quadratic_kappa"] is None


def test_batches_merge():
    levels, y = random_levels(0)
    weight = random_weights(0)
    first, second = (SumAccumulator(lambda: level_sums(levels[:0], y[:0], n_levels=K)) for _ in range(2))
    for accumulator, rows in ((first, slice(0, 20)), (second, slice(20, 45)), (second, slice(45, 60))):
        accumulator.update(level_sums(levels[rows], y[rows], weight[rows], n_levels=K))
    first.merge(second)
    torch.testing.assert_close(first.merged(), level_sums(levels, y, weight, n_levels=K))


def test_a_level_that_training_did_not_have_is_named():
    with pytest.raises(UserError, match="level 4"):
        metrics_of(torch.zeros(2, 1).long(), torch.tensor([[4.0], [0.0]]))


def suite_with(levels, **given):
    p = torch.tensor([[0.9], [0.2]])
    suite = EvaluationSuite(n_labels=1, mode="exact", levels=levels)
    y = torch.tensor([[1.0], [0.0]])
    suite.update(decisions_BL=p > 0.5, scores_BL=p, probabilities_BL=p, uncalibrated_BL=p, y_BL=y, **given)
    return suite


def test_suite_has_levels_where_it_was_told_of_them():
    names = {"level_accuracy", "level_mae", "level_exact", "level_quadratic_kappa"}
    given = {"levels_BL": torch.tensor([[2], [0]]), "y_levels_BL": torch.tensor([[3.0], [0.0]])}
    found = suite_with(K, **given).compute()
    assert found.values["level_mae"] == 0.5
    assert names <= found.values.keys()
    assert not names & suite_with(None).compute().values.keys()
    constant = {"levels_BL": torch.ones(2, 1).long(), "y_levels_BL": torch.ones(2, 1)}
    assert "levels" in suite_with(K, **constant).compute().reasons["level_quadratic_kappa"]


@pytest.mark.parametrize(("levels", "given"), [(K, {}), (None, {"levels_BL": torch.ones(2, 1).long()})])
def test_levels_are_given_to_suites_that_expect_them(levels, given):
    with pytest.raises(ValueError, match="levels"):
        suite_with(levels, **given)
