"""Sentences about the labels of a data set that a reader of its results should know."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mlc.batch import split_unknown
from mlc.rows import LabelRows, Targets, dense_chunks

_SHOWN = 5  # names listed before the rest is counted


def label_notes(label_names: Sequence[str], targets: Mapping[str, Targets]) -> list[str]:
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
        found = _count(y_NL)
        n_rows, n_labels = y_NL.shape
        rows = counted(n_rows, f"{split} row")
        if found.unknown:
            notes.append(
                f"{found.unknown} of {n_rows * n_labels} {split} label entries "
                f"{'is' if found.unknown == 1 else 'are'} unknown, and left out of losses and metrics."
            )
        if found.unknown_rows:
            notes.append(
                f"{found.unknown_rows} of {rows} {_has(found.unknown_rows)} no known label; such rows stay, "
                "but count for nothing."
            )
        if found.empty_rows:
            notes.append(f"{found.empty_rows} of {rows} {_has(found.empty_rows)} no label.")
        absent = [name for name, there in zip(label_names, found.there_L.tolist(), strict=True) if not there]
        if absent:
            notes.append(
                f"{len(absent)} of {counted(n_labels, 'label')} {_has(len(absent))} no positive in {split}: "
                f"{listed(absent)}."
            )
    return notes


@dataclass
class _Found:
    """What is in the targets of a split."""

    there_L: Tensor  # labels that have a positive
    unknown: int = 0
    unknown_rows: int = 0
    empty_rows: int = 0


def _count(y_NL: Targets) -> _Found:
    found = _Found(torch.zeros(y_NL.shape[1], dtype=torch.bool))
    if isinstance(y_NL, LabelRows):  # all are known, and N × L is never looked at
        places, length_N = y_NL.places(torch.arange(len(y_NL), device=y_NL.start_N.device))
        found.there_L[y_NL.ids_M[places].long().cpu()] = True
        found.empty_rows = int((length_N == 0).sum())
        return found
    for _, y_BL in dense_chunks(y_NL):
        known_or_0_BL, known_BL = split_unknown(y_BL)
        true_BL = known_or_0_BL > 0
        found.there_L |= true_BL.any(0).cpu()
        found.unknown += int((~known_BL).sum())
        found.unknown_rows += int((~known_BL).all(1).sum())
        found.empty_rows += int((~true_BL.any(1) & known_BL.all(1)).sum())
    return found


def _has(number: int) -> str:
    return "has" if number == 1 else "have"


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number and what it counts: 1 row, 2 rows.

    Args:
        number: how many there are.
        one: the words for one.
        many: the words for any other number; None for `one` and an s.
    """
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
