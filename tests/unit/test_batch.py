import dataclasses

import pytest
import torch

from mlc.batch import Batch, LabelStatistics

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
    labels = LabelStatistics.from_targets(torch.ones(2**24 + 1, 1))
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
