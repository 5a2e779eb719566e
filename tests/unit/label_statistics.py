"""Label statistics for tests that care about the frequency of labels, and not about how many a row has."""

from collections.abc import Sequence

import torch

from mlc.batch import LabelStatistics


def labels_with(
    positives: Sequence[float],
    *,
    rows: int,
    known: Sequence[float] | None = None,
    single_label: bool = False,
) -> LabelStatistics:
    """Statistics of these positives; the histogram says that every row has one label.

    Args:
        positives: rows in which each label is true.
        rows: number of rows.
        known: rows in which each label is known; all rows where None.
        single_label: True when every row is said to have exactly one label.
    """
    return LabelStatistics(
        positives_L=torch.tensor(positives, dtype=torch.float64),
        known_L=torch.tensor([rows] * len(positives) if known is None else known, dtype=torch.float64),
        rows=rows,
        single_label=single_label,
        count_histogram_K=torch.tensor([0, rows], dtype=torch.float64),
    )
