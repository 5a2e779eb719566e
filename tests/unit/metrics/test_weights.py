"""What weights and unknown targets mean, for every metric at once and in both modes."""

import pytest
import torch

from mlc.errors import UserError
from mlc.metrics.suite import EvaluationSuite
from mlc.metrics.weights import divide, entry_weights, known_entries, known_mean, total
from tests.unit.metrics.cases import random_case, random_weights, with_unknown

LEVELS = 4
MODES = pytest.mark.parametrize("mode", ["exact", "streaming"])
CASE = random_case(0)
UNKNOWN = pytest.mark.parametrize("case", [CASE, with_unknown(CASE)], ids=["known", "unknown"])
# Sums over rows and counts of rows, which grow with the weights of all.
AMOUNTS = {"rows", "rows_without_known_labels", "support", "predicted", "known"}


def measure(mode, case, weight=None, *, repeats=None, batch=60):
    """Values, per-label columns, reliability and curves; rows repeated so many times."""
    suite = EvaluationSuite(n_labels=7, mode=mode, levels=LEVELS)
    g = torch.Generator().manual_seed(1)
    y_levels = case.y * torch.randint(1, LEVELS, case.y.shape, generator=g)
    levels = torch.randint(0, LEVELS, case.y.shape, generator=g)
    every = torch.arange(len(case.y))
    every = every if repeats is None else every.repeat_interleave(repeats)
    for rows in every.split(batch):
        suite.update(
            decisions_BL=case.decisions[rows],
            scores_BL=case.scores[rows],
            probabilities_BL=case.probabilities[rows],
            uncalibrated_BL=case.probabilities[rows] * 1.5,
            y_BL=case.y[rows],
            weight_B=None if weight is None else weight[rows],
            levels_BL=levels[rows],
            y_levels_BL=y_levels[rows],
        )
    return suite.compute()


def assert_same(found, expected):
    assert found.values == pytest.approx(expected.values, rel=1e-9, abs=1e-12)
    assert found.reasons == expected.reasons
    assert list(found.per_label) == list(expected.per_label)
    for name, column in expected.per_label.items():
        torch.testing.assert_close(found.per_label[name].double(), column.double(), equal_nan=True)
    torch.testing.assert_close(found.reliability, expected.reliability, equal_nan=True)
    torch.testing.assert_close(found.average_precision, expected.average_precision, equal_nan=True)


@MODES
@UNKNOWN
def test_a_weight_is_a_number_of_repetitions(mode, case):
    weight = random_weights(3, whole=True)
    assert set(weight.tolist()) == {0, 1, 2, 3}
    assert_same(measure(mode, case, weight), measure(mode, case, repeats=weight.long()))


@MODES
@UNKNOWN
def test_no_weights_are_ones(mode, case):
    assert_same(measure(mode, case, torch.ones(60)), measure(mode, case))


@MODES
@UNKNOWN
def test_batches_with_weights_merge(mode, case):
    weight = random_weights(4)
    assert_same(measure(mode, case, weight, batch=11), measure(mode, case, weight))


@MODES
@UNKNOWN
def test_only_the_ratio_of_weights_matters(mode, case):
    whole, halves = measure(mode, case), measure(mode, case, torch.full((60,), 0.5))
    for found, expected in ((halves.values, whole.values), (halves.per_label, whole.per_label)):
        assert found.keys() == expected.keys()
        for name in found:
            scale = 0.5 if name in AMOUNTS else 1
            actual, wanted = (torch.as_tensor(values[name]).double() for values in (found, expected))
            torch.testing.assert_close(actual, wanted * scale, equal_nan=True)


@MODES
def test_rows_without_known_labels_only_count_as_such(mode):
    case = with_unknown(CASE)
    others = measure(mode, case, (torch.arange(60) != 7).float())
    assert others.values["rows_without_known_labels"] == 0
    found = measure(mode, case)
    assert found.values["rows_without_known_labels"] == 1
    names = found.values.keys() - {"unknown_fraction", "rows_without_known_labels"}
    assert {name: found.values[name] for name in names} == pytest.approx(
        {name: others.values[name] for name in names}
    )


@MODES
def test_an_unknown_target_hides_decision_score_and_probability(mode):
    case = with_unknown(CASE)
    unknown = case.y.isnan()
    changed = type(case)(
        decisions=case.decisions ^ unknown,
        scores=torch.where(unknown, 9.0, case.scores),
        probabilities=torch.where(unknown, 1 - case.probabilities, case.probabilities),
        y=case.y,
    )
    assert_same(measure(mode, changed), measure(mode, case))


def test_names_tell_of_unknown_targets_only_where_there_are_some():
    known, unknown = measure("exact", CASE), measure("exact", with_unknown(CASE))
    assert unknown.values.keys() - known.values.keys() == {"unknown_fraction", "rows_without_known_labels"}
    assert unknown.per_label.keys() - known.per_label.keys() == {"known"}
    weighted = measure("exact", CASE, random_weights(1))
    assert weighted.values.keys() == known.values.keys()
    assert weighted.per_label.keys() == known.per_label.keys()


def test_nothing_known_has_no_metrics():
    nothing = type(CASE)(CASE.decisions, CASE.scores, CASE.probabilities, torch.full((60, 7), torch.nan))
    with pytest.raises(UserError, match="unknown"):
        measure("exact", nothing)


def test_weights_have_one_value_per_row():
    suite = EvaluationSuite(n_labels=2, mode="exact", no_probabilities="none", no_uncalibrated="none")
    with pytest.raises(ValueError, match="weights must have shape"):
        suite.update(
            decisions_BL=torch.ones(3, 2).bool(),
            scores_BL=torch.ones(3, 2),
            probabilities_BL=None,
            uncalibrated_BL=None,
            y_BL=torch.ones(3, 2),
            weight_B=torch.ones(3, 1),
        )


def test_known_entries_of_all_types():
    assert known_entries(torch.tensor([[0.0, 1.0]])) is None
    assert known_entries(torch.tensor([[False, True]])) is None
    expected = [[False, True]]
    assert known_entries(torch.tensor([[torch.nan, 1.0]])).tolist() == expected
    assert known_entries(torch.tensor([[-1, 0]], dtype=torch.int8)).tolist() == expected


def test_entry_weights():
    y = torch.tensor([[0.0, torch.nan], [1.0, 1.0]])
    assert entry_weights(y[1:], None) is None
    assert entry_weights(y, None).tolist() == [[1, 0], [1, 1]]
    assert entry_weights(y, torch.tensor([0.5, 2])).tolist() == [[0.5, 0], [2, 2]]
    assert entry_weights(y[1:], torch.tensor([2.0])).tolist() == [[2, 2]]


def test_sums_and_ratios_by_hand():
    values = torch.tensor([[1, 2], [3, 4]])
    assert total(values, None).tolist() == [4, 6]
    assert total(values, None).dtype == torch.int64
    assert total(values, torch.tensor([2.0, 0.5])).tolist() == [3.5, 6]
    assert total(values[0] > 1, torch.tensor([2.0, 0.5])).item() == 0.5
    assert divide(torch.tensor([0.0, 0.1]), torch.tensor([0.0, 0.2])).tolist() == pytest.approx([0, 0.5])
    assert known_mean(torch.tensor([1.0, 4, torch.nan]), torch.tensor([1, 0.1, 0])).item() == 2.5
