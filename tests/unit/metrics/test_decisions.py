import pytest
import torch
from sklearn import metrics as sk
from torchmetrics.functional.classification import (
    multilabel_exact_match,
    multilabel_f1_score,
    multilabel_hamming_distance,
)

from mlc.metrics.decisions import decision_metrics, decision_sums, label_decisions
from tests.unit.metrics.cases import random_case


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
