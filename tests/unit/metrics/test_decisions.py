import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torchmetrics.functional.classification import (
    multilabel_exact_match,
    multilabel_f1_score,
    multilabel_hamming_distance,
)

from mlc.metrics.decisions import decision_metrics, decision_sums, label_decisions
from tests.unit.metrics.cases import known_labels, known_rows, random_case, random_weights, with_unknown


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("average", ["micro", "macro"])
@pytest.mark.parametrize(
    ("name", "reference"),
    [("f1", sk.f1_score), ("precision", sk.precision_score), ("recall", sk.recall_score)],
)
def test_means_over_labels_equal_scikit_learn(seed, average, name, reference):
    case = random_case(seed)
    decided, _, y = case.numpy()
    found = decision_metrics(decision_sums(case.decisions, case.y))
    assert found[f"{average}_{name}"] == pytest.approx(
        reference(y, decided, average=average, zero_division=0)
    )


@pytest.mark.parametrize("seed", range(3))
def test_sums_over_rows_equal_scikit_learn(seed):
    case = random_case(seed)
    decided, _, y = case.numpy()
    found = decision_metrics(decision_sums(case.decisions, case.y))
    assert found["samples_f1"] == pytest.approx(sk.f1_score(y, decided, average="samples", zero_division=0))
    assert found["hamming_loss"] == pytest.approx(sk.hamming_loss(y, decided))
    assert found["subset_accuracy"] == pytest.approx(sk.accuracy_score(y, decided))
    assert found["subset_accuracy"] > 0
    assert found["rows"] == 60


def test_labels_equal_scikit_learn():
    case = random_case(0)
    decided, _, y = case.numpy()
    precision, recall, f1, support = sk.precision_recall_fscore_support(y, decided, zero_division=0)
    found = label_decisions(decision_sums(case.decisions, case.y))
    torch.testing.assert_close(found["precision"], torch.from_numpy(precision))
    torch.testing.assert_close(found["recall"], torch.from_numpy(recall))
    torch.testing.assert_close(found["f1"], torch.from_numpy(f1))
    assert found["support"].tolist() == support.tolist()
    assert found["predicted"].tolist() == decided.sum(0).tolist()


def test_equal_torchmetrics():
    case = random_case(1)
    decided, y = case.decisions.int(), case.y.int()
    found = decision_metrics(decision_sums(case.decisions, case.y))
    assert found["micro_f1"] == pytest.approx(float(multilabel_f1_score(decided, y, 7, average="micro")))
    assert found["hamming_loss"] == pytest.approx(float(multilabel_hamming_distance(decided, y, 7)))
    assert found["subset_accuracy"] == pytest.approx(float(multilabel_exact_match(decided, y, 7)))


def test_counts_by_hand():
    decisions = torch.tensor([[1, 1, 0], [0, 0, 0], [1, 1, 1], [0, 0, 0]]).bool()
    y = torch.tensor([[1, 0, 0], [0, 1, 1], [0, 0, 0], [0, 0, 0]]).float()
    found = decision_metrics(decision_sums(decisions, y))
    assert found["count_mae"] == (1 + 2 + 3 + 0) / 4
    assert found["empty_fraction"] == 0.5
    assert found["subset_accuracy"] == 0.25
    assert found["samples_f1"] == pytest.approx((2 / 3) / 4)


def test_nothing_true_and_nothing_decided_gives_zero():
    found = decision_metrics(decision_sums(torch.zeros(4, 3).bool(), torch.zeros(4, 3)))
    assert {found[f"{mean}_f1"] for mean in ("micro", "macro", "samples")} == {0.0}
    assert found["subset_accuracy"] == 1


@pytest.mark.parametrize("seed", range(3))
def test_labels_count_the_rows_in_which_they_are_known(seed):
    case = with_unknown(random_case(seed))
    columns = known_labels(case)
    sums = decision_sums(case.decisions, case.y)
    per_label, found = label_decisions(sums), decision_metrics(sums)
    for name, reference in (
        ("f1", sk.f1_score),
        ("precision", sk.precision_score),
        ("recall", sk.recall_score),
    ):
        expected = [reference(y, decided, zero_division=0) for decided, _, y in columns]
        assert per_label[name].tolist() == pytest.approx(expected)
        assert found[f"macro_{name}"] == pytest.approx(np.mean(expected))
        if f"micro_{name}" in found:
            decided, _, y = (np.concatenate(parts) for parts in zip(*columns, strict=True))
            assert found[f"micro_{name}"] == pytest.approx(reference(y, decided, zero_division=0))
    assert per_label["support"].tolist() == [y.sum() for _, _, y in columns]
    assert per_label["predicted"].tolist() == [decided.sum() for decided, _, _ in columns]
    assert per_label["known"].tolist() == [len(y) for _, _, y in columns]


@pytest.mark.parametrize("seed", range(3))
def test_rows_count_their_known_labels(seed):
    case = with_unknown(random_case(seed))
    rows = known_rows(case)
    found = decision_metrics(decision_sums(case.decisions, case.y))
    f1 = [sk.f1_score(y, decided, zero_division=0) for decided, _, y in rows]
    assert found["samples_f1"] == pytest.approx(np.mean(f1))
    assert found["subset_accuracy"] == pytest.approx(np.mean([(d == y).all() for d, _, y in rows]))
    assert found["count_mae"] == pytest.approx(np.mean([abs(d.sum() - y.sum()) for d, _, y in rows]))
    assert found["empty_fraction"] == pytest.approx(np.mean([d.sum() == 0 for d, _, _ in rows]))
    wrong = [entry for d, _, y in rows for entry in (d != y)]
    assert found["hamming_loss"] == pytest.approx(np.mean(wrong))
    assert found["rows"] == len(rows) == 59
    assert found["rows_without_known_labels"] == 1
    assert found["unknown_fraction"] == pytest.approx(float(case.y.isnan().float().mean()))


def test_a_label_that_is_nowhere_known_is_in_no_mean():
    case = random_case(0)
    y = case.y.clone()
    y[:, 3] = torch.nan
    sums, others = decision_sums(case.decisions, y), [0, 1, 2, 4, 5, 6]
    expected = decision_metrics(decision_sums(case.decisions[:, others], y[:, others]))
    found = decision_metrics(sums)
    assert found.pop("unknown_fraction") == pytest.approx(1 / 7)
    assert found.pop("rows_without_known_labels") == 0
    assert found == pytest.approx(expected)
    assert label_decisions(sums)["f1"].isnan().nonzero().tolist() == [[3]]


@pytest.mark.parametrize("seed", range(3))
def test_weights_equal_scikit_learns(seed):
    case, weight = random_case(seed), random_weights(seed)
    decided, _, y = case.numpy()
    w = weight.double().numpy()
    sums = decision_sums(case.decisions, case.y, weight)
    found, per_label = decision_metrics(sums), label_decisions(sums)
    for average in ("micro", "macro"):
        precision, recall, f1, _ = sk.precision_recall_fscore_support(
            y, decided, average=average, zero_division=0, sample_weight=w
        )
        assert found[f"{average}_f1"] == pytest.approx(f1)
        assert found[f"{average}_precision"] == pytest.approx(precision)
        assert found[f"{average}_recall"] == pytest.approx(recall)
    expected = sk.f1_score(y, decided, average="samples", zero_division=0, sample_weight=w)
    assert found["samples_f1"] == pytest.approx(expected)
    assert found["hamming_loss"] == pytest.approx(sk.hamming_loss(y, decided, sample_weight=w))
    assert found["subset_accuracy"] == pytest.approx(sk.accuracy_score(y, decided, sample_weight=w))
    count_error = np.abs(decided.sum(1) - y.sum(1))
    assert found["count_mae"] == pytest.approx(np.average(count_error, weights=w))
    assert found["empty_fraction"] == pytest.approx(np.average(decided.sum(1) == 0, weights=w))
    assert found["rows"] == pytest.approx(w.sum())
    assert per_label["support"].tolist() == pytest.approx((w @ y).tolist())
    assert "unknown_fraction" not in found


def test_counts_stay_integers_without_weights():
    case = with_unknown(random_case(0))
    for y in (random_case(0).y, case.y):
        columns = label_decisions(decision_sums(case.decisions, y))
        assert {columns[name].dtype for name in columns.keys() & {"support", "predicted", "known"}} == {
            torch.int64
        }
