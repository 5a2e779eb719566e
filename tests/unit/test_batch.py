import dataclasses

import pytest
import torch
from torch import Tensor

from mlc.batch import Batch, LabelStatistics, presence, split_unknown
from mlc.rows import LabelRows

SEVERAL = torch.tensor([[1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 1, 0]], dtype=torch.float32)


def test_statistics_count_the_labels_by_hand() -> None:
    labels = LabelStatistics.from_targets(SEVERAL)
    assert labels.positives_L.tolist() == [2, 3, 0]
    assert labels.positives_L.dtype == torch.float64
    assert labels.rows == 4
    assert labels.n_labels == 3
    assert labels.count_histogram_K.tolist() == [1, 1, 2]
    assert labels.count_histogram_K.dtype == torch.float64
    assert labels.max_count == 2
    assert labels.mean_count == pytest.approx(5 / 4)


@pytest.mark.parametrize(
    ("y", "single"),
    [
        ([[1, 0], [0, 1]], True),
        ([[1, 0], [1, 1]], False),
        ([[1, 0], [0, 0]], False),
        ([[1, 1], [0, 0]], False),  # one label per row on average, and not in any row
    ],
)
def test_single_label_needs_exactly_one_in_every_row(y: list[list[int]], single: bool) -> None:
    assert LabelStatistics.from_targets(torch.tensor(y, dtype=torch.float32)).single_label is single


def test_counts_beyond_float32_are_exact() -> None:
    # float32 cannot hold 2^24 + 1: a sum in float32 would stop counting there.
    labels = LabelStatistics.from_targets(torch.ones(2, 1), torch.tensor([2**24, 1.0]))
    assert labels.known_L.item() == 2**24 + 1
    assert labels.positives_L.item() == 2**24 + 1
    assert labels.count_histogram_K.tolist() == [0, 2**24 + 1]


def test_rows_without_labels_are_counted() -> None:
    labels = LabelStatistics.from_targets(torch.zeros(4, 3))
    assert labels.count_histogram_K.tolist() == [4]
    assert labels.max_count == 0


def test_values_are_frozen() -> None:
    labels = LabelStatistics.from_targets(SEVERAL)
    with pytest.raises(dataclasses.FrozenInstanceError):
        labels.rows = 5  # type: ignore[misc]
    batch = Batch(inputs={"x": torch.zeros(4, 2)}, y_BL=SEVERAL)
    with pytest.raises(dataclasses.FrozenInstanceError):
        batch.y_BL = SEVERAL  # type: ignore[misc]


NAN = float("nan")
# Levels, unknown targets, a row of which nothing is known, and two rows of the same set.
MIXED = torch.tensor([[2, 0, 0], [NAN, 1, 0], [0, 3, 0], [NAN, NAN, NAN], [1, 0, 0], [1, 1, NAN]])


def test_unknown_targets_are_split_off() -> None:
    value, known = split_unknown(torch.tensor([[1.0, NAN], [0.0, 3.0]]))
    assert value.tolist() == [[1, 0], [0, 3]]
    assert known.tolist() == [[True, False], [True, True]]


def test_presence_of_levels() -> None:
    found = presence(torch.tensor([0.0, 1.0, 2.0, 7.0, NAN]))
    assert found[:4].tolist() == [0, 1, 1, 1]
    assert found[4].isnan()
    assert torch.equal(presence(SEVERAL), SEVERAL)


def test_unknown_labels_and_levels_by_hand() -> None:
    labels = LabelStatistics.from_targets(MIXED, with_sets=True)
    assert labels.positives_L.tolist() == [3, 3, 0]
    assert labels.known_L.tolist() == [4, 5, 4]
    assert labels.frequency_L.tolist() == pytest.approx([3 / 4, 3 / 5, 0])
    assert labels.mean_count == pytest.approx(3 / 4 + 3 / 5)
    assert labels.rows == 6
    assert labels.levels == 4
    # Only rows 0, 2 and 4 are known in full, with one label each; the last row is known to have two.
    assert labels.count_histogram_K.tolist() == [0, 3, 0]
    assert labels.max_count == 2
    assert labels.sets_ML is not None
    assert labels.sets_ML.tolist() == [[True, False, False], [False, True, False]]


def test_weights_by_hand() -> None:
    weight_N = torch.tensor([0.5, 2, 0, 9, 1.5, 1])
    labels = LabelStatistics.from_targets(MIXED, weight_N)
    assert labels.positives_L.tolist() == [3, 3, 0]
    assert labels.known_L.tolist() == [3, 5, 4]
    assert labels.positives_L.dtype == labels.known_L.dtype == torch.float64
    assert labels.count_histogram_K.tolist() == [0, 2, 0]
    assert labels.rows == 5, "a row of weight 0 is no row, and the others are, whatever they weigh"


@pytest.mark.parametrize("y", [SEVERAL, MIXED], ids=["known", "unknown"])
def test_weight_k_is_the_row_k_times(y: Tensor) -> None:
    times_N = torch.arange(len(y)) % 4
    times_N[0] = 2
    weighed = LabelStatistics.from_targets(y, times_N.float())
    repeated = LabelStatistics.from_targets(y.repeat_interleave(times_N, 0))
    assert torch.equal(weighed.positives_L, repeated.positives_L)
    assert torch.equal(weighed.known_L, repeated.known_L)
    assert torch.equal(weighed.frequency_L, repeated.frequency_L)
    most = len(repeated.count_histogram_K)
    assert torch.equal(weighed.count_histogram_K[:most], repeated.count_histogram_K)
    assert not weighed.count_histogram_K[most:].any()


@pytest.mark.parametrize("y", [SEVERAL, MIXED], ids=["known", "unknown"])
def test_no_weights_are_ones(y: Tensor) -> None:
    first = LabelStatistics.from_targets(y, with_sets=True)
    second = LabelStatistics.from_targets(y, torch.ones(len(y)), with_sets=True)
    for field in dataclasses.fields(LabelStatistics):
        values = [getattr(labels, field.name) for labels in (first, second)]
        assert torch.equal(*values) if isinstance(values[0], Tensor) else values[0] == values[1]


def test_a_row_with_unknown_labels_is_no_single_label_row() -> None:
    assert LabelStatistics.from_targets(torch.eye(3)).single_label
    assert not LabelStatistics.from_targets(torch.tensor([[1, 0], [1, NAN]])).single_label
    # An unknown row leaves the others as they are, and yet nobody knows whether it has exactly one.
    assert not LabelStatistics.from_targets(torch.tensor([[1, 0], [NAN, NAN]])).single_label


def test_a_label_that_is_never_known_has_frequency_0() -> None:
    labels = LabelStatistics.from_targets(torch.tensor([[1, NAN], [0, NAN]]))
    assert labels.frequency_L.tolist() == [0.5, 0]
    assert labels.mean_count == 0.5


def test_nothing_known_at_all() -> None:
    labels = LabelStatistics.from_targets(torch.full((3, 2), NAN), with_sets=True)
    assert labels.known_L.tolist() == labels.positives_L.tolist() == [0, 0]
    assert labels.count_histogram_K.tolist() == [0]
    assert (labels.levels, labels.single_label) == (2, False)
    assert labels.sets_ML is not None
    assert labels.sets_ML.shape == (0, 2)


@pytest.mark.parametrize(("highest", "levels"), [(0, 2), (1, 2), (2, 3), (6, 7)])
def test_levels_go_up_to_the_highest(highest: int, levels: int) -> None:
    y_NL = torch.tensor([[0.0, NAN], [highest, 0.0]])
    assert LabelStatistics.from_targets(y_NL).levels == levels


def test_sets_are_different_and_the_most_frequent_first() -> None:
    rows = [[0, 0], *[[1, 0]] * 3, *[[2, 0]] * 2, *[[1, 1]] * 4, [0, NAN]]
    labels = LabelStatistics.from_targets(torch.tensor(rows), with_sets=True)
    assert labels.sets_ML is not None
    assert labels.sets_ML.dtype == torch.bool
    # [1, 0] and [2, 0] are one set, with five rows.
    assert labels.sets_ML.tolist() == [[True, False], [True, True], [False, False]]
    assert LabelStatistics.from_targets(torch.tensor(rows)).sets_ML is None


def test_a_row_of_weight_0_is_as_if_it_were_not_there() -> None:
    y_NL = torch.tensor([[1.0, 0, 0], [0, 1, 0], [1, 1, 1]])
    weighted = LabelStatistics.from_targets(y_NL, torch.tensor([1.5, 1.5, 0]), with_sets=True)
    without = LabelStatistics.from_targets(y_NL[:2], torch.tensor([1.5, 1.5]), with_sets=True)
    assert weighted.max_count == without.max_count == 1
    assert weighted.single_label
    assert weighted.rows == 2
    assert weighted.sets_ML is not None
    assert without.sets_ML is not None
    assert torch.equal(weighted.sets_ML, without.sets_ML)


def test_sets_come_by_falling_weight() -> None:
    y_NL = torch.tensor([[1.0, 0], [1, 0], [0, 1]])
    labels = LabelStatistics.from_targets(y_NL, torch.tensor([1.0, 1, 5]), with_sets=True)
    assert labels.sets_ML is not None
    assert labels.sets_ML.tolist() == [[False, True], [True, False]]


def assert_same_statistics(first: LabelStatistics, second: LabelStatistics) -> None:
    for field in dataclasses.fields(LabelStatistics):
        values = [getattr(labels, field.name) for labels in (first, second)]
        assert torch.equal(*values) if isinstance(values[0], Tensor) else values[0] == values[1], field.name


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("y", [SEVERAL, MIXED, MIXED[:0]], ids=["known", "unknown", "none"])
def test_chunks_of_rows_count_as_the_whole(
    y: Tensor, weighted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight_N = torch.arange(len(y)).float() % 4 if weighted else None
    whole = LabelStatistics.from_targets(y, weight_N, with_sets=True)
    monkeypatch.setattr("mlc.rows._CHUNK_NUMBERS", 6)  # two rows
    assert_same_statistics(LabelStatistics.from_targets(y, weight_N, with_sets=True), whole)


def test_sparse_targets_count_as_dense_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    sparse = LabelRows(
        torch.tensor([0, 1, 1, 1, 0]), torch.tensor([0, 2, 3, 3]), torch.tensor([2, 1, 0, 2]), n_labels=3
    )
    assert torch.equal(sparse[:], SEVERAL)
    for weight_N in (None, torch.tensor([0, 2, 0.5, 1.5])):
        dense = LabelStatistics.from_targets(SEVERAL, weight_N, with_sets=True)
        assert_same_statistics(LabelStatistics.from_targets(sparse, weight_N, with_sets=True), dense)
        dense = LabelStatistics.from_targets(SEVERAL, weight_N)
        assert_same_statistics(LabelStatistics.from_targets(sparse, weight_N), dense)
        monkeypatch.setattr("mlc.rows._CHUNK_NUMBERS", 3)
