import copy
from typing import get_args

import numpy as np
import pytest
import torch
from scipy.stats import nbinom

from mlc.batch import LabelStatistics
from mlc.heads.counts import LARGEST_FIRST_SIZE, CountKind, count_reading
from mlc.outputs.counts import CategoricalCount, CountModel, NegativeBinomialCount

FLOOR = 0.01
EVERY_KIND = pytest.mark.parametrize("kind", get_args(CountKind))


def rows_with(counts: list[int], n_labels: int = 12) -> LabelStatistics:
    """Statistics of rows that have so many labels."""
    return LabelStatistics.from_targets((torch.arange(n_labels) < torch.tensor(counts)[:, None]).float())


def first_count(kind: CountKind, labels: LabelStatistics, max_count: int | None = None) -> CountModel:
    """What an untrained layer says of features that are all zero."""
    largest = max(1, labels.max_count) if max_count is None else max_count
    reading = count_reading(kind, labels=labels, floor=FLOOR, max_count=largest)
    return reading.read(reading.layer(3)(torch.zeros(1, 3)))


@EVERY_KIND
def test_starts_at_the_mean_count_of_training(kind: CountKind) -> None:
    # Half a row of smoothing is nothing beside a thousand.
    labels = rows_with([0, 1, 1, 2, 6] * 200)
    assert first_count(kind, labels).mean().item() == pytest.approx(2, rel=2e-3)


@EVERY_KIND
def test_rows_without_any_label_start_finite(kind: CountKind) -> None:
    mean = first_count(kind, rows_with([0, 0, 0])).mean().item()
    assert mean == pytest.approx(0.125 if kind == "categorical" else FLOOR)


@EVERY_KIND
def test_unknown_labels_in_every_row_start_finite(kind: CountKind) -> None:
    y_NL = torch.tensor([[1.0, torch.nan, 0], [torch.nan, 1, 1]])
    mean = first_count(kind, LabelStatistics.from_targets(y_NL)).mean().item()
    # Nothing is known of the count but its largest value, 2: the categorical count starts uniform.
    assert mean == pytest.approx(1.0 if kind == "categorical" else 2.5)


def test_negative_binomial_starts_at_the_variance_of_training() -> None:
    counts = [0, 0, 1, 2, 9, 12]
    count = first_count("negative_binomial", rows_with(counts))
    assert isinstance(count, NegativeBinomialCount)
    size, mean = count.log_size_B.exp().item(), np.mean(counts)
    assert nbinom(size, size / (size + mean)).var() == pytest.approx(np.var(counts), rel=1e-5)


@pytest.mark.parametrize("counts", [[2, 2, 2], [1, 2, 3]])
def test_negative_binomial_of_regular_counts_starts_near_poisson(counts: list[int]) -> None:
    count = first_count("negative_binomial", rows_with(counts))
    assert isinstance(count, NegativeBinomialCount)
    assert count.log_size_B.exp().item() == pytest.approx(LARGEST_FIRST_SIZE)


def test_categorical_starts_at_the_smoothed_histogram() -> None:
    pmf = first_count("categorical", rows_with([0, 2, 2, 3])).pmf(4)[0]
    assert pmf.tolist() == pytest.approx([1.5 / 6, 0.5 / 6, 2.5 / 6, 1.5 / 6, 0])


def test_categorical_may_count_beyond_the_training_rows() -> None:
    count = first_count("categorical", rows_with([0, 2, 2, 3]), max_count=5)
    assert isinstance(count, CategoricalCount)
    assert count.pmf(5)[0].tolist() == pytest.approx(np.array([1.5, 0.5, 2.5, 1.5, 0.5, 0.5]) / 7)


@EVERY_KIND
def test_a_reading_can_be_copied(kind: CountKind) -> None:
    reading = count_reading(kind, labels=rows_with([1, 2]), floor=FLOOR, max_count=2)
    raw_BK = torch.randn(4, len(reading.start_K))
    assert torch.equal(copy.deepcopy(reading).read(raw_BK).mean(), reading.read(raw_BK).mean())
