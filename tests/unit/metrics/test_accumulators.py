import pytest
import torch

from mlc.metrics import accumulators
from mlc.metrics.accumulators import ExactAveragePrecision, HistogramAveragePrecision, SumAccumulator
from mlc.metrics.average_precision import average_precision
from mlc.metrics.decisions import decision_sums
from tests.unit.metrics.cases import random_case, random_weights, with_unknown

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
    first.merge_state(second)
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
    first.merge_state(second)
    _, (_, y, weight) = weighted_parts()
    torch.testing.assert_close(first.merged(), decision_sums(CASE.decisions, y, weight))


@pytest.mark.parametrize("create", [ExactAveragePrecision, HistogramAveragePrecision, decision_accumulator])
def test_a_process_without_rows_has_the_states_of_the_others(monkeypatch, create):
    """Processes can only join states of one type; the other one, played by the patched parts, has weights."""
    names = {} if create is decision_accumulator else {"n_labels": 7}
    idle, busy = create(**names), create(**names)
    if create is decision_accumulator:
        busy.update(decision_sums(CASE.decisions, CASE.y, random_weights(0)))
    else:
        busy.update(CASE.scores, CASE.y, random_weights(0))

    def states(accumulator):
        values = {name: getattr(accumulator, name) for name in accumulator._defaults}
        return {name: value[0] if isinstance(value, list) else value for name, value in values.items()}

    gathered = {}

    def gather(value, group=None):
        name = next(name for name, state in states(idle).items() if state is value)
        gathered[name] = value
        return [value, states(busy)[name]]

    monkeypatch.setattr(accumulators, "gather_all_tensors", gather)
    monkeypatch.setattr("torchmetrics.metric.gather_all_tensors", gather)
    idle.distributed_available_fn = lambda: True
    expected = busy.merged()
    torch.testing.assert_close(idle.merged(), expected, equal_nan=True)
    assert {name: value.dtype for name, value in gathered.items()} == {
        name: value.dtype for name, value in states(busy).items()
    }
