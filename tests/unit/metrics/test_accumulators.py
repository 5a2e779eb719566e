import pytest
import torch

from mlc.metrics.accumulators import ExactAveragePrecision, HistogramAveragePrecision, SumAccumulator
from mlc.metrics.average_precision import average_precision
from mlc.metrics.decisions import decision_sums
from tests.unit.metrics.cases import random_case

CASE = random_case(0)


def decision_accumulator():
    return SumAccumulator(decision_sums(torch.zeros(0, 7).bool(), torch.zeros(0, 7)))


def test_sums_of_batches_are_the_sums_of_all():
    accumulator = decision_accumulator()
    for decisions, y in zip(CASE.decisions.split(17), CASE.y.split(17), strict=True):
        accumulator.update(decision_sums(decisions, y))
    torch.testing.assert_close(accumulator.merged(), decision_sums(CASE.decisions, CASE.y))


def test_sums_of_processes_merge():
    first, second = decision_accumulator(), decision_accumulator()
    first.update(decision_sums(CASE.decisions[:20], CASE.y[:20]))
    second.update(decision_sums(CASE.decisions[20:], CASE.y[20:]))
    first.merge_state(second)
    torch.testing.assert_close(first.merged(), decision_sums(CASE.decisions, CASE.y))


@pytest.mark.parametrize("create", [ExactAveragePrecision, HistogramAveragePrecision])
def test_average_precision_of_batches_and_processes_merges(create):
    first, second, whole = (create(n_labels=7) for _ in range(3))
    first.update(CASE.scores[:20], CASE.y[:20])
    first.update(CASE.scores[20:30], CASE.y[20:30])
    second.update(CASE.scores[30:], CASE.y[30:])
    whole.update(CASE.scores, CASE.y)
    first.merge_state(second)
    torch.testing.assert_close(first.merged(), whole.merged(), equal_nan=True)


def test_exact_is_exact_for_a_state_that_torchmetrics_has_joined():
    accumulator = ExactAveragePrecision(n_labels=7)
    accumulator.update(CASE.scores, CASE.y)
    accumulator.scores, accumulator.y = CASE.scores, CASE.y
    expected = average_precision([CASE.scores], [CASE.y])
    torch.testing.assert_close(accumulator.compute(), expected, equal_nan=True)


@pytest.mark.parametrize("create", [ExactAveragePrecision, HistogramAveragePrecision])
def test_reset_forgets(create):
    accumulator, fresh = create(n_labels=7), create(n_labels=7)
    accumulator.update(CASE.scores, 1 - CASE.y)
    accumulator.reset()
    for each in (accumulator, fresh):
        each.update(CASE.scores, CASE.y)
    torch.testing.assert_close(accumulator.merged(), fresh.merged(), equal_nan=True)


def test_exact_keeps_a_float32_and_a_byte_per_cell():
    accumulator = ExactAveragePrecision(n_labels=7)
    accumulator.update(CASE.scores, CASE.y)
    assert sum(part.nbytes for part in (*accumulator.scores, *accumulator.y)) == 5 * CASE.y.numel()


def test_a_process_without_rows_merges():
    accumulator = ExactAveragePrecision(n_labels=7)
    assert accumulator.merged().ap_L.isnan().all()
    assert accumulator.scores[0].shape == (0, 7)
