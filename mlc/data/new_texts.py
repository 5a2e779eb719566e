"""New texts to predict on: typed on the command line, or in a file."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from mlc.batch import BatchInput
from mlc.data.examples import Codes, Examples
from mlc.data.lines import NumberedLines
from mlc.data.notes import counted
from mlc.data.preparation import as_batch, prepare_inputs
from mlc.data.regular_file import check_file
from mlc.data.table_file.opening import open_table

_COLUMN = "text"
_log = logging.getLogger(__name__)


def text_batch(
    texts: Sequence[str], *, preparation: Mapping[str, Tensor], codes: Codes | None = None
) -> dict[str, BatchInput]:
    """The inputs of B texts, with the numbers beside them where there are any, as one batch."""
    rows = Examples(label_names=(), y_NL=torch.empty(len(texts), 0), text=texts, codes=codes)
    return as_batch(prepare_inputs(rows, preparation))


def read_texts(
    path: Path, *, preparation: Mapping[str, Tensor], chunk_rows: int
) -> Iterator[dict[str, BatchInput]]:
    """Stream new texts from a file.

    Args:
        path: a .txt file with one text on each line, of which an empty one is an empty text; or a table
            (.csv, .tsv, .jsonl or .parquet) with a column called text.
        preparation: what was fitted on the training texts.
        chunk_rows: at most this many texts at a time.

    Raises:
        UserError: the file is missing, malformed or of another kind; says where.
    """
    texts = _lines(path) if path.suffix.lower() == ".txt" else _cells(path, chunk_rows)
    while chunk := list(islice(texts, chunk_rows)):
        yield text_batch(chunk, preparation=preparation)


def _lines(path: Path) -> Iterator[str]:
    check_file(path)
    with path.open("rb") as file:
        for line in NumberedLines(file, path):
            yield line.rstrip("\r\n")


def _cells(path: Path, chunk_rows: int) -> Iterator[str]:
    table = open_table(path)
    column = table.find(_COLUMN, option="prediction")
    n_empty = 0
    for chunk in table.chunks([column], chunk_rows=chunk_rows):
        for cell in chunk.cells[column]:
            n_empty += cell is None
            yield "" if cell is None else str(cell)
    if n_empty:
        _log.warning(
            "%s: %s no text, which is read as an empty one.", path, counted(n_empty, "row has", "rows have")
        )
