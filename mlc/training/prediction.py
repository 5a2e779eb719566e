"""Predictions for new rows, streamed to a file."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import torch
from torch import Tensor

from mlc.model import Classifier
from mlc.outputs.base import LabelOutput, NotDefinedError
from mlc.training.files import atomic_path


@torch.no_grad()
def predict_file(
    classifier: Classifier,
    chunks: Iterable[Mapping[str, Tensor]],
    target: Path,
    *,
    label_names: Sequence[str],
) -> int:
    """Write one line per row: its number, the decided labels, and the probability of every label.

    CSV has the columns `row`, `decided` (labels joined by "|"; a "|" in a name is written "\\|") and one per
    label; JSON lines have the keys `row`, `decided` (a list) and `probabilities` (an object). A model without
    marginals writes its scores instead, under the key `scores`. The file appears when it is whole.

    Returns:
        The number of rows.
    """
    with atomic_path(target) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        write = _write_csv if target.suffix == ".csv" else _write_jsonl
        return write(file, _rows(classifier, chunks), label_names)


_Row = tuple[str, list[bool], list[float]]


def _rows(classifier: Classifier, chunks: Iterable[Mapping[str, Tensor]]) -> Iterator[_Row]:
    """What the values are called, the decided labels and the values of each row."""
    for inputs in chunks:
        output = classifier.calibrator(classifier.loss.link(classifier.network(inputs)))
        kind, values_BL = _probabilities(output)
        decided_BL = classifier.decision(output)
        for decided_L, values_L in zip(decided_BL.tolist(), values_BL.tolist(), strict=True):
            yield kind, decided_L, values_L


def _probabilities(output: LabelOutput) -> tuple[str, Tensor]:
    try:
        return "probabilities", output.marginals()
    except NotDefinedError:
        return "scores", output.scores()


def _write_csv(file: IO[str], rows: Iterable[_Row], label_names: Sequence[str]) -> int:
    writer, count = csv.writer(file), 0
    joinable = [name.replace("\\", "\\\\").replace("|", "\\|") for name in label_names]
    writer.writerow(["row", "decided", *label_names])
    for _, decided_L, values_L in rows:
        chosen = "|".join(name for name, is_in in zip(joinable, decided_L, strict=True) if is_in)
        writer.writerow([count, chosen, *(f"{value:.6g}" for value in values_L)])
        count += 1
    return count


def _write_jsonl(file: IO[str], rows: Iterable[_Row], label_names: Sequence[str]) -> int:
    count = 0
    for kind, decided_L, values_L in rows:
        chosen = [name for name, is_in in zip(label_names, decided_L, strict=True) if is_in]
        values = dict(zip(label_names, values_L, strict=True))
        file.write(json.dumps({"row": count, "decided": chosen, kind: values}, ensure_ascii=False) + "\n")
        count += 1
    return count
