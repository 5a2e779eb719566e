"""Sentences about the labels of a data set that a reader of its results should know."""

from collections.abc import Mapping, Sequence

from torch import Tensor

_SHOWN = 5  # names listed before the rest is counted


def label_notes(label_names: Sequence[str], targets: Mapping[str, Tensor]) -> list[str]:
    """Count the rows without labels and the labels without positives.

    Args:
        label_names: the L labels.
        targets: y_NL of each split, by the name of the split.

    Returns:
        One sentence for each split and kind that occurs; none when there is nothing to say.
    """
    notes = []
    for split, y_NL in targets.items():
        n_empty = int((y_NL.sum(1) == 0).sum())
        if n_empty:
            notes.append(f"{n_empty} of {len(y_NL)} {split} rows have no label.")
        absent = [name for name, n in zip(label_names, y_NL.sum(0).tolist(), strict=True) if n == 0]
        if absent:
            notes.append(
                f"{len(absent)} of {len(label_names)} labels have no positive in {split}: {listed(absent)}."
            )
    return notes


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
