import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torchmetrics.functional.classification import (
    multilabel_coverage_error,
    multilabel_ranking_average_precision,
    multilabel_ranking_loss,
)
from torchmetrics.functional.retrieval import retrieval_normalized_dcg, retrieval_precision

from mlc.metrics import ranks
from mlc.metrics.ranking import ranking_metrics, ranking_sums
from tests.unit.metrics.cases import (
    known_rows,
    random_case,
    random_weights,
    with_full_row,
    with_unknown,
)

KS = (1, 3, 5)


def metrics_of(scores, y, ks=KS):
    return ranking_metrics(ranking_sums(scores, y, ks), ks)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("ties", [True, False])
def test_equal_scikit_learn(seed, ties):
    case = with_full_row(random_case(seed, ties=ties))
    _, scores, y = case.numpy()
    found = metrics_of(case.scores, case.y)
    assert found["ranking_loss"] == pytest.approx(sk.label_ranking_loss(y, scores))
    assert found["lrap"] == pytest.approx(sk.label_ranking_average_precision_score(y, scores))
    assert found["coverage_error"] == pytest.approx(sk.coverage_error(y, scores))
    for k in KS:
        assert found[f"ndcg_at_{k}"] == pytest.approx(sk.ndcg_score(y, scores, k=k))


def test_equal_torchmetrics_without_ties():
    case = with_full_row(random_case(0, ties=False))
    p, y = case.probabilities, case.y.int()
    found = metrics_of(p, case.y)
    assert found["ranking_loss"] == pytest.approx(float(multilabel_ranking_loss(p, y, 7)))
    assert found["lrap"] == pytest.approx(float(multilabel_ranking_average_precision(p, y, 7)))
    assert found["coverage_error"] == pytest.approx(float(multilabel_coverage_error(p, y, 7)))
    for k in KS:
        rows = list(zip(p, y, strict=True))
        precision = np.mean([float(retrieval_precision(*row, top_k=k)) for row in rows])
        ndcg = np.mean([float(retrieval_normalized_dcg(*row, top_k=k)) for row in rows])
        assert found[f"precision_at_{k}"] == pytest.approx(precision)
        assert found[f"ndcg_at_{k}"] == pytest.approx(ndcg)
    top_is_true = case.y[torch.arange(60), p.argmax(1)].mean()
    assert found["one_error"] == pytest.approx(1 - float(top_is_true))


def test_ties_count_as_the_mean_over_all_orders():
    case = random_case(3)
    g = torch.Generator().manual_seed(0)
    noise = 1e-3 * torch.rand(4000, *case.scores.shape, generator=g)
    orders = (case.scores + noise).flatten(0, 1)
    broken = metrics_of(orders, case.y.repeat(4000, 1))
    tied = metrics_of(case.scores, case.y)
    for name in ("one_error", "precision_at_1", "precision_at_3", "precision_at_5", "ndcg_at_3"):
        assert tied[name] == pytest.approx(broken[name], abs=2e-3)


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        ([0, 0, 0], {"ranking_loss": 0, "lrap": 1, "coverage_error": 0, "one_error": 1, "ndcg_at_3": 0}),
        ([1, 1, 1], {"ranking_loss": 0, "lrap": 1, "coverage_error": 3, "one_error": 0, "ndcg_at_3": 1}),
        ([0, 1, 0], {"ranking_loss": 0.5, "lrap": 0.5, "coverage_error": 2, "precision_at_3": 1 / 3}),
    ],
)
def test_rows_by_hand(y, expected):
    found = metrics_of(torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([y]).float(), ks=(1, 3))
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_blocks_of_rows_change_nothing(monkeypatch):
    case = random_case(5)
    whole = ranking_sums(case.scores, case.y, KS)
    monkeypatch.setattr(ranks, "CELLS", 50)
    torch.testing.assert_close(ranking_sums(case.scores, case.y, KS), whole)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("ties", [True, False])
def test_rows_rank_their_known_labels(seed, ties):
    case = with_unknown(with_full_row(random_case(seed, ties=ties)))
    rows = [(scores[None], y[None]) for _, scores, y in known_rows(case)]
    found = metrics_of(case.scores, case.y)
    references = {
        "ranking_loss": sk.label_ranking_loss,
        "lrap": sk.label_ranking_average_precision_score,
        "coverage_error": sk.coverage_error,
    }
    for name, reference in references.items():
        assert found[name] == pytest.approx(np.mean([reference(y, scores) for scores, y in rows]))
    for k in KS:
        expected = [sk.ndcg_score(y, scores, k=k) for scores, y in rows]
        assert found[f"ndcg_at_{k}"] == pytest.approx(np.mean(expected))
    if not ties:
        best_first = [y[0, np.argsort(-scores[0])] for scores, y in rows]
        assert found["one_error"] == pytest.approx(np.mean([1 - y[0] for y in best_first]))
        for k in KS:
            expected = [y[:k].mean() for y in best_first]
            assert found[f"precision_at_{k}"] == pytest.approx(np.mean(expected))


@pytest.mark.parametrize("seed", range(3))
def test_weights_equal_scikit_learns(seed):
    case, weight = with_full_row(random_case(seed)), random_weights(seed)
    _, scores, y = case.numpy()
    w = weight.double().numpy()
    found = ranking_metrics(ranking_sums(case.scores, case.y, KS, weight), KS)
    assert found["ranking_loss"] == pytest.approx(sk.label_ranking_loss(y, scores, sample_weight=w))
    lrap = sk.label_ranking_average_precision_score(y, scores, sample_weight=w)
    assert found["lrap"] == pytest.approx(lrap)
    assert found["coverage_error"] == pytest.approx(sk.coverage_error(y, scores, sample_weight=w))
    for k in KS:
        assert found[f"ndcg_at_{k}"] == pytest.approx(sk.ndcg_score(y, scores, k=k, sample_weight=w))
    rows = [metrics_of(*row) for row in zip(case.scores.split(1), case.y.split(1), strict=True)]
    for name in ("one_error", "precision_at_1", "precision_at_3", "precision_at_5"):
        assert found[name] == pytest.approx(np.average([row[name] for row in rows], weights=w))


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        ([np.nan, 0, np.nan], {"ranking_loss": 0, "lrap": 1, "coverage_error": 0, "one_error": 1}),
        ([np.nan, 1, np.nan], {"ranking_loss": 0, "lrap": 1, "coverage_error": 1, "ndcg_at_3": 1}),
        ([np.nan, 0, 1], {"ranking_loss": 1, "lrap": 0.5, "coverage_error": 2, "precision_at_3": 0.5}),
    ],
)
def test_rows_with_unknown_labels_by_hand(y, expected):
    nothing_known = torch.full((1, 3), torch.nan)
    targets = torch.cat([torch.tensor([y]).float(), nothing_known])
    found = metrics_of(torch.tensor([[3.0, 2.0, 1.0]] * 2), targets, ks=(1, 3))
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_blocks_of_rows_change_nothing_with_weights_and_unknown_labels(monkeypatch):
    case, weight = with_unknown(random_case(5)), random_weights(5)
    whole = ranking_sums(case.scores, case.y, KS, weight)
    monkeypatch.setattr(ranks, "CELLS", 50)
    torch.testing.assert_close(ranking_sums(case.scores, case.y, KS, weight), whole)
