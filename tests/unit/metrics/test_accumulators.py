import pytest
import torch

from mlc.metrics.accumulators import ExactAveragePrecision, HistogramAveragePrecision, SumAccumulator
from mlc.metrics.decisions import decision_sums
from tests.unit.metrics.cases import random_case, random_weights, with_unknown

CASE = random_case(0)


def decision_accumulator():
    return SumAccumulator(lambda: decision_sums(torch.zeros(0, 7).bool(), torch.zeros(0, 7)))


def test_sums_of_batches_are_the_sums_of_all():
    accumulator = decision_accumulator()
    for decisions, y in zip(CASE.decisions.split(17), CASE.y.split(17), strict=True):
        accumulator.update(decision_sums(decisions, y))
    torch.testing.assert_close(accumulator.merged(), decision_sums(CASE.decisions, CASE.y))


def test_sums_of_processes_merge():
    first, second = decision_accumulator(), decision_accumulator()
    first.update(decision_sums(CASE.decisions[:20], CASE.y[:20]))
    second.update(decision_sums(CASE.decisions[20:], CASE.y[20:]))
    first.merge(second)
    torch.testing.assert_close(first.merged(), decision_sums(CASE.decisions, CASE.y))


@pytest.mark.parametrize("create", [ExactAveragePrecision, HistogramAveragePrecision])
def test_average_precision_of_batches_and_processes_merges(create):
    first, second, whole = (create(n_labels=7) for _ in range(3))
    first.update(CASE.scores[:20], CASE.y[:20])
    first.update(CASE.scores[20:30], CASE.y[20:30])
    second.update(CASE.scores[30:], CASE.y[30:])
    whole.update(CASE.scores, CASE.y)
    first.merge(second)
    torch.testing.assert_close(first.merged(), whole.merged(), equal_nan=True)


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


def test_nothing_has_no_average_precision():
    assert ExactAveragePrecision(n_labels=7).merged().ap_L.isnan().all()
    assert HistogramAveragePrecision(n_labels=7).merged().ap_L.isnan().all()


PARTS = (slice(0, 20), slice(20, 30), slice(30, 60))


def weighted_parts():
    """Scores, targets and weights in three parts, the second without weights; and all of it, with weights."""
    case, weight = with_unknown(CASE), random_weights(0)
    weight[PARTS[1]] = 1
    parts = [(case.scores[rows], case.y[rows], weight[rows]) for rows in PARTS]
    parts[1] = (*parts[1][:2], None)
    return parts, (case.scores, case.y, weight)


@pytest.mark.parametrize("create", [ExactAveragePrecision, HistogramAveragePrecision])
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0)])
def test_average_precision_with_weights_merges(create, order):
    first, second, whole = (create(n_labels=7) for _ in range(3))
    parts, everything = weighted_parts()
    first.update(*parts[order[0]])
    second.update(*parts[order[1]])
    second.update(*parts[order[2]])
    whole.update(*everything)
    first.merge(second)
    torch.testing.assert_close(first.merged(), whole.merged(), equal_nan=True)


@pytest.mark.parametrize("create", [ExactAveragePrecision, HistogramAveragePrecision])
def test_weights_are_forgotten(create):
    accumulator, fresh = create(n_labels=7), create(n_labels=7)
    accumulator.update(CASE.scores, CASE.y, random_weights(0))
    accumulator.reset()
    for each in (accumulator, fresh):
        each.update(CASE.scores, CASE.y)
    assert str(accumulator.merged()) == str(fresh.merged())


def test_sums_with_and_without_weights_merge():
    first, second = decision_accumulator(), decision_accumulator()
    parts, _ = weighted_parts()
    decided = [CASE.decisions[rows] for rows in PARTS]
    first.update(decision_sums(decided[1], parts[1][1]))
    assert first.merged().support_L.dtype == torch.int64
    second.update(decision_sums(decided[0], *parts[0][1:]))
    second.update(decision_sums(decided[2], *parts[2][1:]))
    first.merge(second)
    _, (_, y, weight) = weighted_parts()
    torch.testing.assert_close(first.merged(), decision_sums(CASE.decisions, y, weight))


CREATE = {
    "sums": decision_accumulator,
    "exact": lambda: ExactAveragePrecision(n_labels=7),
    "histograms": lambda: HistogramAveragePrecision(n_labels=7),
}


def update(accumulator, rows, *, weighted):
    case, weight = with_unknown(CASE), random_weights(0)
    weight_B = weight[rows] if weighted else None
    if isinstance(accumulator, SumAccumulator):
        accumulator.update(decision_sums(case.decisions[rows], case.y[rows], weight_B))
    else:
        accumulator.update(case.scores[rows], case.y[rows], weight_B)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", CREATE)
def test_processes_merge_also_where_one_has_no_rows(in_processes, name, weighted):
    whole = CREATE[name]()
    update(whole, slice(0, 60), weighted=weighted)

    def process(rank):
        accumulator = CREATE[name]()
        if rank != 1:
            for rows in {0: [slice(0, 20), slice(20, 27)], 2: [slice(27, 60)]}[rank]:
                update(accumulator, rows, weighted=weighted)
        before = str(accumulator.compute())
        results = [accumulator.merged() for _ in range(2)]
        assert str(accumulator.compute()) == before  # merging leaves a process its own batches
        return results

    for results in in_processes(3, process):
        for found in results:
            torch.testing.assert_close(found, whole.compute(), equal_nan=True)
            assert [value.dtype for value in found] == [value.dtype for value in whole.compute()]
