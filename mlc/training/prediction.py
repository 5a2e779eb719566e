"""Predictions for new rows, streamed to a file."""

import csv
import json
from abc import ABC, abstractmethod
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
from mlc.training.label_predictions import cut_once
from mlc.training.label_rules import decided_and_best
from mlc.training.label_scores import LabelScores
from mlc.training.settings import TrainerSettings
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
MOST_LABELS = 10  # of a row, where labels are very many


@torch.no_grad()
def predict_file(
    classifier: Classifier,
    chunks: Iterable[Mapping[str, BatchInput]],
    target: Path,
    *,
    label_names: Sequence[str],
    kept: Kept = _NOTHING,
    by_labels: TrainerSettings | None = None,
) -> int:
    """Write one line per row: its number, the decided labels, and the probability of every label.

    CSV has the columns `row`, those that are kept, `decided` (labels joined by "|"; a "|" in a name is
    written "\\|") and one per label; JSON lines have the keys `row`, `kept` (an object, where anything is),
    `decided` (a list) and `probabilities` (an object). A model without marginals writes its scores instead,
    in columns `score of <label>` or under the key `scores`. A model of levels also writes the most probable
    level of each label, in columns `level of <label>` or under `levels`.
    Of very many labels only the best 10 of each row are written, the best first: in columns `best 1`,
    `probability 1` (or `score 1`), `best 2`, ..., or in that order under the key.
    Text in CSV is safe for spreadsheets, and `text_of` gives it back (`mlc/training/csv_cells.py`). The file
    appears when it is whole.

    Args:
        classifier: trained.
        chunks: inputs of the rows, some rows at a time.
        target: the file.
        label_names: the L labels.
        kept: what is to stand beside the predictions.
        by_labels: the settings of a run with very many labels, which come in chunks here, too; else None.

    Returns:
        The number of rows.
    """
    with atomic_path(target) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        rows = _with_kept(_rows(classifier, chunks, by_labels), kept)
        if target.suffix != ".csv":
            return _write_jsonl(file, rows, label_names, kept.names)
        values = label_names if by_labels is None else _best_columns("probabilities", len(label_names))
        return _write_csv(file, rows, label_names, kept.names, without_rows=values)


@dataclass(frozen=True)
class _Row(ABC):
    """What is known of one row.

    Args:
        decided: the labels that are.
        kind: what its values are called, "probabilities" or "scores".
    """

    decided: list[int]
    kind: str

    @abstractmethod
    def ranked(self) -> list[tuple[int, float]]:
        """Labels with their values, the best first."""

    @abstractmethod
    def header(self, names: Sequence[str]) -> list[str]:
        """The CSV columns of the values."""

    @abstractmethod
    def cells(self, names: Sequence[str]) -> list[object]:
        """What stands in them."""

    @abstractmethod
    def items(self, names: Sequence[str]) -> dict[str, Any]:
        """The same for JSON."""


@dataclass(frozen=True)
class _AllLabels(_Row):
    """The values of all labels, and the levels if any."""

    values_L: list[float]
    levels_L: list[int] | None

    def ranked(self) -> list[tuple[int, float]]:
        return sorted(enumerate(self.values_L), key=lambda item: -item[1])

    def header(self, names: Sequence[str]) -> list[str]:
        values = names if self.kind == "probabilities" else [f"score of {name}" for name in names]
        return [*map(safe_cell, values), *(f"level of {name}" for name in names if self.levels_L)]

    def cells(self, names: Sequence[str]) -> list[object]:
        return [*(f"{value:.6g}" for value in self.values_L), *(self.levels_L or ())]

    def items(self, names: Sequence[str]) -> dict[str, Any]:
        found: dict[str, Any] = {self.kind: dict(zip(names, self.values_L, strict=True))}
        if self.levels_L is not None:
            found["levels"] = dict(zip(names, self.levels_L, strict=True))
        return found


@dataclass(frozen=True)
class _BestLabels(_Row):
    """The values of the best labels, the best first."""

    best: list[tuple[int, float]]

    def ranked(self) -> list[tuple[int, float]]:
        return self.best

    def header(self, names: Sequence[str]) -> list[str]:
        return _best_columns(self.kind, len(self.best))

    def cells(self, names: Sequence[str]) -> list[object]:
        return [cell for label, value in self.best for cell in (safe_cell(names[label]), f"{value:.6g}")]

    def items(self, names: Sequence[str]) -> dict[str, Any]:
        return {self.kind: {names[label]: value for label, value in self.best}}


def _best_columns(kind: str, n_labels: int) -> list[str]:
    value = "probability" if kind == "probabilities" else "score"
    places = range(1, min(n_labels, MOST_LABELS) + 1)
    return [f"{column} {place}" for place in places for column in ("best", value)]


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


def _rows(
    classifier: Classifier, chunks: Iterable[Mapping[str, BatchInput]], by_labels: TrainerSettings | None
) -> Iterator[_Row]:
    if by_labels is not None:
        cut_once(classifier.network, by_labels)
    for inputs in chunks:
        yield from (
            _all_labels(classifier, inputs) if by_labels is None else _best(classifier, inputs, by_labels)
        )


def _all_labels(classifier: Classifier, inputs: Mapping[str, BatchInput]) -> Iterator[_Row]:
    linked = classifier.loss.link(classifier.network(inputs))
    output = classifier.calibrator(linked)
    kind, values_BL = _probabilities(output)
    decided_BL = classifier.decision(output)
    levels: list[list[int] | None] = [None] * len(values_BL)
    if isinstance(linked, LabelLevels):
        levels = linked.levels().tolist()
    for decided_L, values_L, levels_L in zip(decided_BL, values_BL.tolist(), levels, strict=True):
        yield _AllLabels(decided_L.nonzero().squeeze(1).tolist(), kind, values_L, levels_L)


def _best(
    classifier: Classifier, inputs: Mapping[str, BatchInput], settings: TrainerSettings
) -> Iterator[_Row]:
    scores = LabelScores(
        classifier.network,
        [inputs],
        precision=settings.precision,
        memory_limit_mb=settings.memory_limit_mb,
    )
    decided, best = decided_and_best(scores, classifier, k=MOST_LABELS)
    kind, _ = _probabilities(classifier.calibrator(classifier.loss.link(scores.example())))
    labels, values = (part[:, :MOST_LABELS].tolist() for part in (best.label_NK, best.value_NK))
    for row, (its_labels, its_values) in enumerate(zip(labels, values, strict=True)):
        start, length = int(decided.start_N[row]), int(decided.length_N[row])
        chosen = decided.ids_M[start : start + length].sort().values.tolist()
        yield _BestLabels(chosen, kind, list(zip(its_labels, its_values, strict=True)))


def predict_text(
    classifier: Classifier,
    inputs: Mapping[str, BatchInput],
    *,
    label_names: Sequence[str],
    by_labels: TrainerSettings | None = None,
) -> str:
    """A table of the labels of one example, the most probable first; decided labels are marked.

    Args:
        classifier: trained.
        inputs: of the example.
        label_names: the L labels.
        by_labels: see `predict_file`.
    """
    with torch.no_grad():
        (row,) = _rows(classifier, [inputs], by_labels)
    ranked = row.ranked()
    names = {
        label: printable(label_names[label]) for label in {*row.decided, *(label for label, _ in ranked)}
    }
    width = max(len(names[label]) for label, _ in ranked)
    chosen = set(row.decided)
    lines = [
        f"{'*' if label in chosen else ' '} {names[label]:<{width}}  {value:.3f}" for label, value in ranked
    ]
    order = {label: place for place, (label, _) in enumerate(ranked)}
    decided = [
        names[label] for label in sorted(chosen, key=lambda label: (order.get(label, len(order)), label))
    ]
    return "\n".join([*lines, f"{row.kind}; * decided: {', '.join(decided) if decided else 'no label'}"])


def _probabilities(output: LabelOutput) -> tuple[str, Tensor]:
    try:
        return "probabilities", output.marginals()
    except NotDefinedError:
        return "scores", output.scores()


def _write_csv(
    file: IO[str],
    rows: Iterable[_KeptRow],
    label_names: Sequence[str],
    kept_names: Sequence[str],
    *,
    without_rows: Sequence[str],
) -> int:
    writer, count = csv.writer(file), 0
    joinable = [name.replace("\\", "\\\\").replace("|", "\\|") for name in label_names]
    begin = ["row", *map(safe_cell, kept_names), "decided"]
    for cells, row in rows:
        if count == 0:
            writer.writerow([*begin, *row.header(label_names)])
        chosen = "|".join(joinable[label] for label in row.decided)
        texts = (safe_cell(_text(cell)) for cell in cells)
        writer.writerow([count, *texts, safe_cell(chosen), *row.cells(label_names)])
        count += 1
    if count == 0:
        writer.writerow([*begin, *map(safe_cell, without_rows)])
    return count


def _text(cell: Any) -> str:
    """A cell of a table as text: nothing where there is none, and lists as JSON."""
    if cell is None or isinstance(cell, str):
        return cell or ""
    return json.dumps(cell, ensure_ascii=False, default=str)


def _write_jsonl(
    file: IO[str], rows: Iterable[_KeptRow], label_names: Sequence[str], kept_names: Sequence[str]
) -> int:
    count = 0
    for cells, row in rows:
        line: dict[str, Any] = {"row": count}
        if kept_names:
            line["kept"] = dict(zip(kept_names, cells, strict=True))
        line |= {"decided": [label_names[label] for label in row.decided], **row.items(label_names)}
        file.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
        count += 1
    return count
