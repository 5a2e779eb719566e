import pytest
import torch
from sklearn import metrics as sk

from mlc.errors import Fault
from mlc.metrics.suite import EvaluationSuite, choose_mode
from tests.unit.metrics.cases import Case, random_case, random_weights, with_unknown

NAMES = {
    *(
        "micro_f1",
        "macro_f1",
        "samples_f1",
        "micro_precision",
        "micro_recall",
        "macro_precision",
        "macro_recall",
    ),
    *("hamming_loss", "subset_accuracy", "ranking_loss", "lrap", "coverage_error", "one_error", "map"),
    *("precision_at_1", "precision_at_3", "precision_at_5", "ndcg_at_1", "ndcg_at_3", "ndcg_at_5"),
    *("classwise_ece", "classwise_ece_uncalibrated", "brier", "brier_uncalibrated", "log_loss"),
    *("count_mae", "empty_fraction", "rows"),
}
CASE = random_case(0)


def feed(suite, case=CASE, *, batch=60, **absent):
    for rows in torch.arange(len(case.y)).split(batch):
        given = {
            "decisions_BL": case.decisions[rows],
            "scores_BL": case.scores[rows],
            "probabilities_BL": case.probabilities[rows],
            "uncalibrated_BL": case.probabilities[rows] * 1.5,
            "y_BL": case.y[rows],
        }
        suite.update(**(given | absent))
    return suite


@pytest.mark.parametrize("mode", ["exact", "streaming"])
def test_names_are_stable(mode):
    values = feed(EvaluationSuite(n_labels=7, mode=mode)).compute().values
    assert set(values) == NAMES | ({"map_error_bound"} if mode == "streaming" else set())
    assert None not in values.values()


def test_batches_merged_equal_all_at_once():
    whole = feed(EvaluationSuite(n_labels=7, mode="exact")).compute()
    parts = feed(EvaluationSuite(n_labels=7, mode="exact"), batch=11).compute()
    assert parts.values == pytest.approx(whole.values, rel=1e-12)
    torch.testing.assert_close(dict(parts.per_label), dict(whole.per_label), equal_nan=True)


def test_only_average_precision_depends_on_the_mode():
    case = random_case(4, ties=False)
    exact = feed(EvaluationSuite(n_labels=7, mode="exact"), case).compute()
    streaming = feed(EvaluationSuite(n_labels=7, mode="streaming"), case).compute()
    for name in NAMES - {"map"}:
        assert exact.values[name] == streaming.values[name]
    gap = abs(exact.values["map"] - streaming.values["map"])
    assert gap <= streaming.values["map_error_bound"] + 1e-12
    gap_L = (exact.per_label["ap"] - streaming.per_label["ap"]).abs()[1:]
    assert bool((gap_L <= streaming.per_label["ap_error_bound"][1:] + 1e-12).all())
    torch.testing.assert_close(exact.reliability, streaming.reliability, equal_nan=True)


def test_values_go_to_their_names():
    decided, scores, y = CASE.numpy()
    found = feed(EvaluationSuite(n_labels=7, mode="exact")).compute()
    assert found.values["macro_f1"] == pytest.approx(
        sk.f1_score(y, decided, average="macro", zero_division=0)
    )
    assert found.values["lrap"] == pytest.approx(sk.label_ranking_average_precision_score(y, scores))
    assert found.values["map"] == pytest.approx(sk.average_precision_score(y[:, 1:], scores[:, 1:]))
    p = CASE.probabilities.numpy()
    assert found.values["brier"] == pytest.approx(((p - y) ** 2).mean())
    assert found.values["brier_uncalibrated"] == pytest.approx(((1.5 * p - y) ** 2).mean())
    assert found.values["classwise_ece"] == pytest.approx(float(found.per_label["ece"].mean()))
    assert found.values["classwise_ece"] != found.values["classwise_ece_uncalibrated"]
    assert set(found.per_label) == {
        *("precision", "recall", "f1", "support", "predicted", "ap", "ece", "ece_uncalibrated")
    }
    assert found.reliability["uncalibrated"].overall.probability.nan_to_num().max() > 1


def test_absent_probabilities_are_null_with_the_given_reason():
    suite = EvaluationSuite(
        n_labels=7, mode="exact", no_probabilities="not calibrated", no_uncalibrated="none"
    )
    found = feed(suite, probabilities_BL=None, uncalibrated_BL=None).compute()
    assert {name for name, value in found.values.items() if value is None} == set(found.reasons)
    assert set(found.values) == NAMES
    assert found.reasons["log_loss"] == found.reasons["brier"] == "not calibrated"
    assert found.reasons["classwise_ece_uncalibrated"] == "none"
    assert not found.reliability


def test_cut_offs_beyond_the_labels_and_absent_positives_are_null_with_a_reason():
    suite = EvaluationSuite(n_labels=2, mode="streaming")
    p = torch.rand(5, 2)
    suite.update(
        decisions_BL=p > 0.5, scores_BL=p, probabilities_BL=p, uncalibrated_BL=p, y_BL=torch.zeros(5, 2)
    )
    found = suite.compute()
    assert set(found.reasons) == {
        *("precision_at_3", "precision_at_5", "ndcg_at_3", "ndcg_at_5", "map", "map_error_bound")
    }
    assert all(found.values[name] is None for name in found.reasons)
    assert "2 labels" in found.reasons["ndcg_at_3"]


def test_switched_off_metrics_are_left_out():
    suite = feed(EvaluationSuite(n_labels=7, mode="exact", ranking=False, average_precision=False))
    found = suite.compute()
    assert not {"lrap", "map", "ndcg_at_1"} & set(found.values)
    assert {"micro_f1", "classwise_ece", "log_loss"} <= set(found.values)
    assert found.average_precision is None
    assert "ap" not in found.per_label


def test_reset_forgets():
    suite = feed(EvaluationSuite(n_labels=7, mode="exact"), random_case(9))
    suite.reset()
    again = feed(suite).compute().values
    assert again == feed(EvaluationSuite(n_labels=7, mode="exact")).compute().values


@pytest.mark.parametrize("mode", ["exact", "streaming"])
def test_suites_merge_within_a_process_and_across(mode, in_processes):
    whole = feed(EvaluationSuite(n_labels=7, mode=mode)).compute()

    def suite(rows):
        part = Case(CASE.decisions[rows], CASE.scores[rows], CASE.probabilities[rows], CASE.y[rows])
        return feed(EvaluationSuite(n_labels=7, mode=mode), part)

    first, second = suite(slice(0, 25)), suite(slice(25, 60))
    first.merge(second)
    for found in (first.compute(), *in_processes(2, lambda rank: process(rank, suite))):
        assert found.values == pytest.approx(whole.values, rel=1e-12)
        torch.testing.assert_close(dict(found.per_label), dict(whole.per_label), equal_nan=True)


def process(rank, suite):
    return suite((slice(0, 25), slice(25, 60))[rank]).compute(merged=True)


@pytest.mark.parametrize("mode", ["exact", "streaming"])
def test_neither_blocks_nor_threads_change_a_bit(monkeypatch, mode):
    for module in ("average_precision", "blocks", "ranks", "score_histogram", "suite"):
        monkeypatch.setattr(f"mlc.metrics.{module}.CELLS", 64)
    before, results = torch.get_num_threads(), []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        try:
            results.append(feed(EvaluationSuite(n_labels=7, mode=mode)).compute())
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(before)
    assert results[0].values == results[1].values
    assert results[0].values == pytest.approx(
        feed(EvaluationSuite(n_labels=7, mode=mode)).compute().values, rel=1e-12
    )


@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize("mode", ["exact", "streaming"])
def test_how_the_numbers_lie_in_memory_makes_no_difference(mode, unknown):
    case = with_unknown(CASE) if unknown else CASE
    turned = Case(*(values.T.contiguous().T for values in vars(case).values()))
    results = [
        feed(EvaluationSuite(n_labels=7, mode=mode), one, batch=500).compute() for one in (case, turned)
    ]
    assert results[0].values == results[1].values


class Elsewhere(torch.Tensor):
    """A tensor that says it is on another device, where NumPy and the host's threads are no help."""

    is_cpu = False

    def numpy(self):
        raise AssertionError("NumPy cannot read the memory of a device")


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize("mode", ["exact", "streaming"])
def test_what_is_done_on_other_devices_gives_the_same(mode, unknown, weighted):
    case = with_unknown(CASE) if unknown else CASE
    weight = random_weights(0) if weighted else None
    here, there = (EvaluationSuite(n_labels=7, mode=mode) for _ in range(2))
    feed(here, case, weight_B=weight)
    moved = Case(*(values.as_subclass(Elsewhere) for values in vars(case).values()))
    feed(there, moved, weight_B=None if weight is None else weight.as_subclass(Elsewhere))
    assert there.compute().values == pytest.approx(here.compute().values, rel=1e-9)


def test_scores_that_are_nan_stop_the_evaluation():
    scores = CASE.scores.clone()
    scores[3, 2] = torch.nan
    with pytest.raises(Fault, match="diverged"):
        feed(EvaluationSuite(n_labels=7, mode="exact"), scores_BL=scores)


def test_shapes_and_missing_probabilities_are_caught():
    suite = EvaluationSuite(n_labels=7, mode="exact")
    with pytest.raises(ValueError, match="shape"):
        feed(suite, scores_BL=CASE.scores[:, :1])
    with pytest.raises(ValueError, match="expected probabilities"):
        feed(suite, probabilities_BL=None)


def test_no_rows_have_no_metrics():
    with pytest.raises(ValueError, match="no rows"):
        EvaluationSuite(n_labels=7, mode="exact").compute()


def test_mode_follows_the_memory():
    mode, why = choose_mode(20_000, 4_000, memory_limit_mb=400)
    assert mode == "exact"
    assert "400 MB" in why
    mode, why = choose_mode(20_001, 4_000, memory_limit_mb=400)
    assert mode == "streaming"
    assert "histograms" in why


@pytest.mark.parametrize("mode", ["exact", "streaming"])
def test_one_label_and_one_row(mode):
    suite = EvaluationSuite(n_labels=1, mode=mode)
    p = torch.tensor([[0.9]])
    suite.update(
        decisions_BL=p > 0.5, scores_BL=p, probabilities_BL=p, uncalibrated_BL=p, y_BL=torch.ones(1, 1)
    )
    found = suite.compute()
    assert found.values["micro_f1"] == found.values["map"] == found.values["ndcg_at_1"] == 1
    assert found.values["classwise_ece"] == pytest.approx(0.1)
    assert all(column.shape == (1,) for column in found.per_label.values())
