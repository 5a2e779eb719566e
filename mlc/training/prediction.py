"""Predictions for new rows, streamed to a file."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from mlc.batch import BatchInput
from mlc.errors import UserError
from mlc.model import Classifier
from mlc.outputs.base import LabelOutput, NotDefinedError
from mlc.outputs.levels import LabelLevels
from mlc.training.csv_cells import safe_cell
from mlc.training.files import atomic_path
from mlc.training.text_table import printable


@dataclass(frozen=True)
class Kept:
    """What is written beside the predictions of each row, to tell which row it is.

    Args:
        names: of the columns.
        rows: their cells, row after row.
    """

    names: tuple[str, ...] = ()
    rows: Iterable[Sequence[Any]] | None = None


_NOTHING = Kept()


@torch.no_grad()
def predict_file(
    classifier: Classifier,
    chunks: Iterable[Mapping[str, BatchInput]],
    target: Path,
    *,
    label_names: Sequence[str],
    kept: Kept = _NOTHING,
) -> int:
    """Write one line per row: its number, the decided labels, and the probability of every label.

    CSV has the columns `row`, those that are kept, `decided` (labels joined by "|"; a "|" in a name is
    written "\\|") and one per label; JSON lines have the keys `row`, `kept` (an object, where anything is),
    `decided` (a list) and `probabilities` (an object). A model without marginals writes its scores instead,
    in columns `score of <label>` or under the key `scores`. A model of levels also writes the most probable
    level of each label, in columns `level of <label>` or under `levels`.
    Text in CSV is safe for spreadsheets, and `text_of` gives it back (`mlc/training/csv_cells.py`). The file
    appears when it is whole.

    Returns:
        The number of rows.
    """
    with atomic_path(target) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        write = _write_csv if target.suffix == ".csv" else _write_jsonl
        return write(file, _with_kept(_rows(classifier, chunks), kept), label_names, kept.names)


@dataclass(frozen=True)
class _Row:
    """What is known of one row: decided labels, values, what the values are called, and levels if any."""

    decided_L: list[bool]
    values_L: list[float]
    kind: str
    levels_L: list[int] | None


_KeptRow = tuple[Sequence[Any], _Row]


def _with_kept(rows: Iterable[_Row], kept: Kept) -> Iterator[_KeptRow]:
    """Each row with its kept cells.

    Raises:
        UserError: there are not as many.
    """
    if kept.rows is None:
        yield from (((), row) for row in rows)
        return
    for row, cells in zip_longest(rows, kept.rows):
        if row is None or cells is None:
            raise UserError(
                f"the input has other rows to predict on than to keep {', '.join(kept.names)} of: "
                f"take blank rows out of it, or leave keep= away"
            )
        yield cells, row


def _rows(classifier: Classifier, chunks: Iterable[Mapping[str, BatchInput]]) -> Iterator[_Row]:
    for inputs in chunks:
        linked = classifier.loss.link(classifier.network(inputs))
        output = classifier.calibrator(linked)
        kind, values_BL = _probabilities(output)
        decided_BL = classifier.decision(output)
        levels: list[list[int] | None] = [None] * len(values_BL)
        if isinstance(linked, LabelLevels):
            levels = linked.levels().tolist()
        yield from map(_Row, decided_BL.tolist(), values_BL.tolist(), [kind] * len(levels), levels)


def predict_text(
    classifier: Classifier, inputs: Mapping[str, BatchInput], *, label_names: Sequence[str]
) -> str:
    """A table of all labels of one example, the most probable first; decided labels are marked."""
    with torch.no_grad():
        (row,) = _rows(classifier, [inputs])
    order = sorted(range(len(label_names)), key=lambda label: -row.values_L[label])
    names = [printable(name) for name in label_names]
    width = max(map(len, names))
    lines = [
        f"{'*' if row.decided_L[label] else ' '} {names[label]:<{width}}  {row.values_L[label]:.3f}"
        for label in order
    ]
    decided = [names[label] for label in order if row.decided_L[label]]
    return "\n".join([*lines, f"{row.kind}; * decided: {', '.join(decided) if decided else 'no label'}"])


def _probabilities(output: LabelOutput) -> tuple[str, Tensor]:
    try:
        return "probabilities", output.marginals()
    except NotDefinedError:
        return "scores", output.scores()


def _write_csv(
    file: IO[str], rows: Iterable[_KeptRow], label_names: Sequence[str], kept_names: Sequence[str]
) -> int:
    writer, count = csv.writer(file), 0
    joinable = [name.replace("\\", "\\\\").replace("|", "\\|") for name in label_names]
    for cells, row in rows:
        if count == 0:
            writer.writerow(_header(row, label_names, kept_names))
        chosen = "|".join(name for name, is_in in zip(joinable, row.decided_L, strict=True) if is_in)
        texts = (safe_cell(_text(cell)) for cell in cells)
        values = (f"{value:.6g}" for value in row.values_L)
        writer.writerow([count, *texts, safe_cell(chosen), *values, *(row.levels_L or ())])
        count += 1
    if count == 0:
        writer.writerow(["row", *map(safe_cell, kept_names), "decided", *map(safe_cell, label_names)])
    return count


def _text(cell: Any) -> str:
    """A cell of a table as text: nothing where there is none, and lists as JSON."""
    if cell is None or isinstance(cell, str):
        return cell or ""
    return json.dumps(cell, ensure_ascii=False, default=str)


def _header(row: _Row, label_names: Sequence[str], kept_names: Sequence[str]) -> list[str]:
    names = list(label_names) if row.kind == "probabilities" else [f"score of {name}" for name in label_names]
    levels = [f"level of {name}" for name in label_names] if row.levels_L else []
    return ["row", *map(safe_cell, kept_names), "decided", *map(safe_cell, names), *levels]


def _write_jsonl(
    file: IO[str], rows: Iterable[_KeptRow], label_names: Sequence[str], kept_names: Sequence[str]
) -> int:
    count = 0
    for cells, row in rows:
        chosen = [name for name, is_in in zip(label_names, row.decided_L, strict=True) if is_in]
        line: dict[str, Any] = {"row": count}
        if kept_names:
            line["kept"] = dict(zip(kept_names, cells, strict=True))
        line |= {"decided": chosen, row.kind: dict(zip(label_names, row.values_L, strict=True))}
        if row.levels_L is not None:
            line["levels"] = dict(zip(label_names, row.levels_L, strict=True))
        file.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
        count += 1
    return count
