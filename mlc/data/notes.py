"""Sentences about the labels of a data set that a reader of its results should know."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from mlc.batch import split_unknown

_SHOWN = 5  # names listed before the rest is counted


def label_notes(label_names: Sequence[str], targets: Mapping[str, Tensor]) -> list[str]:
    """Count the unknown targets, the rows without labels and the labels without positives.

    Rows count once each, whatever their weights. A row counts as one without labels only where that is sure:
    all its labels are known.

    Args:
        label_names: the L labels.
        targets: y_NL of each split, by the name of the split.

    Returns:
        One sentence for each split and kind that occurs; none when there is nothing to say.
    """
    notes = []
    for split, y_NL in targets.items():
        known_or_0_NL, known_NL = split_unknown(y_NL)
        notes.extend(_unknown_notes(split, known_NL))
        n_empty = int(((known_or_0_NL.sum(1) == 0) & known_NL.all(1)).sum())
        if n_empty:
            notes.append(f"{n_empty} of {len(y_NL)} {split} rows have no label.")
        absent = [name for name, n in zip(label_names, known_or_0_NL.sum(0).tolist(), strict=True) if n == 0]
        if absent:
            notes.append(
                f"{len(absent)} of {len(label_names)} labels have no positive in {split}: {listed(absent)}."
            )
    return notes


def _unknown_notes(split: str, known_NL: Tensor) -> list[str]:
    notes = []
    n_unknown = int((~known_NL).sum())
    if n_unknown:
        notes.append(
            f"{n_unknown} of {known_NL.numel()} {split} label entries are unknown; "
            "they are left out of losses and metrics."
        )
    n_rows = int((~known_NL).all(1).sum())
    if n_rows:
        notes.append(
            f"{n_rows} of {len(known_NL)} {split} rows have no known label; they stay, but count for nothing."
        )
    return notes


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
