"""Label statistics for tests that care about the frequency of labels, and not about how many a row has."""

from collections.abc import Sequence

import torch

from mlc.batch import LabelStatistics


def labels_with(positives: Sequence[float], *, rows: int, single_label: bool = False) -> LabelStatistics:
    """Statistics of these positives; the histogram says that every row has one label."""
    return LabelStatistics(
        positives_L=torch.tensor(positives, dtype=torch.float64),
        rows=rows,
        single_label=single_label,
        count_histogram_K=torch.tensor([0, rows], dtype=torch.float64),
    )
