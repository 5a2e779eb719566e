"""Predict new rows: `python -m mlc.predict run=<run folder> input=<file> output=<file.csv|jsonl>`.

Or one text: `python -m mlc.predict run=<run folder> text="..."`.
"""

import csv
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from mlc import early_signals

if __name__ == "__main__":  # what comes next takes seconds
    early_signals.listen()

from mlc.data.dataset import TextSource
from mlc.data.table_file.base import TableFile
from mlc.data.table_file.opening import open_table
from mlc.errors import UserError
from mlc.experiment.assemble import TrainedRun, read_trained_run
from mlc.experiment.command_line import (
    existing_folder,
    exit_code,
    helped,
    read_words,
    refuse_several,
    with_trust,
)
from mlc.paths import home_path
from mlc.training.prediction import Kept, predict_file, predict_text
from mlc.training.settings import TrainerSettings

USAGE = (
    "python -m mlc.predict run=<run folder> input=<file, or folder of pictures> output=<file.csv or "
    'file.jsonl> [keep=<column>,<column>], or run=<run folder> text="..."'
)
_CHUNK_ROWS = 1024


@runtime_checkable
class FolderSource(Protocol):
    """A source that reads new rows from a folder of files."""

    def files_in(self, folder: Path) -> list[str]:
        """The files that are read, as paths from the folder, in the order of their rows."""
        ...


def main() -> None:
    """The command-line door."""
    sys.exit(exit_code(lambda: with_trust(predict, sys.argv[1:])))


def predict(words: Sequence[str]) -> None:
    """Write the probabilities of all labels and the decided set for every row of the input."""
    if helped(words, USAGE):
        return
    refuse_several("mlc.predict")
    keys = ["run", "input", "output"]
    values = read_words(words, usage=USAGE, known=[*keys, "keep", "text"], required=["run"])
    if "text" in values:
        print(_about_text(values))
        return
    values = read_words(words, usage=USAGE, known=[*keys, "keep"], required=keys)
    source, target = home_path(values["input"]), home_path(values["output"])
    _check_files(values, source, target)
    table, columns = _kept_columns(values["keep"], source) if "keep" in values else (None, ())
    trained = read_trained_run(existing_folder(values["run"], key="run"))
    label_names = trained.facts.label_names
    taken = {"row", "decided", *label_names}.intersection(columns)
    if taken and target.suffix == ".csv":
        raise UserError(
            f"keep={values['keep']}: the output has a column {min(taken)} of its own; rename that of the "
            f"input, or write a .jsonl file"
        )
    rows = predict_file(
        trained.classifier,
        trained.recipe.source.read_inputs(
            source, preparation=trained.facts.preparation, chunk_rows=_CHUNK_ROWS
        ),
        target,
        label_names=label_names,
        kept=Kept(columns, _cells(table, columns)) if table else _file_names(trained, source),
        by_labels=_by_labels(trained),
    )
    print(f"{rows} {'row' if rows == 1 else 'rows'} predicted: {target}")


def _check_files(values: Mapping[str, str], source: Path, target: Path) -> None:
    """Refuse an input that is not there, and an output that cannot be written."""
    if not source.exists():
        raise UserError(f"input={values['input']} does not exist: give the file to predict on")
    if target.suffix not in (".csv", ".jsonl"):
        raise UserError(f"output={values['output']} has no known ending: use .csv or .jsonl")
    if target.is_dir():
        raise UserError(f"output={values['output']} is a folder: name a file")
    if not target.parent.is_dir():
        raise UserError(
            f"output={values['output']}: the folder {target.parent} does not exist; make it first"
        )
    if target.exists() and target.samefile(source):
        raise UserError(f"output={values['output']} is the input file: name another, it would be overwritten")


def _kept_columns(keep: str, source: Path) -> tuple[TableFile, tuple[str, ...]]:
    """The input as a table, and those of its columns that are copied to the output."""
    if source.is_dir():
        raise UserError(
            f"keep={keep} copies columns of a table, and input={source} is a folder: leave keep= away"
        )
    names = [name.strip() for name in next(csv.reader([keep], skipinitialspace=True), [])]
    if not all(names) or not names:
        raise UserError(f"keep={keep} names no column: give their names, as in keep=id,title")
    table = open_table(source)
    return table, tuple(dict.fromkeys(table.find(name, option="keep") for name in names))


def _cells(table: TableFile, columns: Sequence[str]) -> Iterator[Sequence[Any]]:
    """The cells of these columns, row after row; what JSON cannot say is missing."""
    for chunk in table.chunks(columns, chunk_rows=_CHUNK_ROWS):
        for cells in zip(*(chunk.cells[name] for name in columns), strict=True):
            yield [None if isinstance(cell, float) and not math.isfinite(cell) else cell for cell in cells]


def _file_names(trained: TrainedRun, source: Path) -> Kept:
    """The file of each row, where the input is a folder."""
    if not source.is_dir() or not isinstance(trained.recipe.source, FolderSource):
        return Kept()
    return Kept(("file",), ([name] for name in trained.recipe.source.files_in(source)))


def _about_text(values: Mapping[str, str]) -> str:
    """The labels of one text with their probabilities."""
    if beside := [key for key in ("input", "output", "keep") if key in values]:
        raise UserError(
            f"text= stands for itself: leave {' and '.join(f'{key}=' for key in beside)} away. Usage: {USAGE}"
        )
    if not values["text"].strip():
        raise UserError('text= is empty: give the text to predict on, in quotes, as in text="Java engineer"')
    trained = read_trained_run(existing_folder(values["run"], key="run"))
    source = trained.recipe.source
    if not isinstance(source, TextSource) or "text" not in trained.recipe.makers:
        raise UserError(f"run={values['run']} was not trained on texts: give it rows with input=<file>")
    inputs = source.text_inputs([values["text"]], preparation=trained.facts.preparation)
    return predict_text(
        trained.classifier, inputs, label_names=trained.facts.label_names, by_labels=_by_labels(trained)
    )


def _by_labels(trained: TrainedRun) -> TrainerSettings | None:
    """The settings of a run whose labels come in chunks, because they are very many."""
    settings = trained.recipe.settings
    return None if settings.label_chunk is None else settings


if __name__ == "__main__":
    early_signals.run(main)
