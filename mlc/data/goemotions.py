"""GoEmotions: comments from Reddit, and the feelings that readers found in them."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Interval
from torch import Tensor

from mlc.batch import BatchInput
from mlc.data.dataset import Dataset
from mlc.data.examples import TEST, TRAIN, VALID, Examples
from mlc.data.lines import NumberedLines
from mlc.data.new_texts import read_texts, text_batch
from mlc.data.pipeline import build_dataset
from mlc.data.root import data_file
from mlc.data.splitting import Splitting
from mlc.data.text.encoder import TextEncoder

_FOLDER = "goemotions"
_PARTS = {"train.tsv": TRAIN, "dev.tsv": VALID, "test.tsv": TEST}
_MASKS = ("[NAME]", "[RELIGION]")  # what the publishers put for names and religions


class GoEmotions:
    """Short comments with 27 emotions and neutral, in the published train, dev and test split.

    The files train.tsv, dev.tsv, test.tsv and labels.txt are in the folder "goemotions" of the data root;
    they are downloaded on first use.

    Args:
        valid_fraction: with folds, share of the rows that do not test held out for validation; without them
            dev.tsv validates.
        folds: number of folds of a cross-validation over all three files; null for the published split.
        fold: which fold tests, from 0.

    Source: D. Demszky, D. Movshovitz-Attias, J. Ko, A. Cowen, G. Nemade and S. Ravi (2020), GoEmotions: A
        Dataset of Fine-Grained Emotions.
    """

    def __init__(
        self,
        *,
        valid_fraction: Annotated[float, Interval(gt=0, lt=1)] = 0.15,
        folds: Annotated[int, Ge(2)] | None = None,
        fold: Annotated[int, Ge(0)] = 0,
    ) -> None:
        self.splitting = Splitting(valid_fraction=valid_fraction, folds=folds, fold=fold)

    def load(
        self, *, seed: int, text: TextEncoder | None = None, preparation: Mapping[str, Tensor] | None = None
    ) -> Dataset:
        """Read the four files and prepare the texts.

        Raises:
            UserError: a file is missing and cannot be downloaded, or is malformed; says where.
        """
        return build_dataset(
            read_goemotions(),
            name="goemotions",
            splitting=self.splitting,
            text=text,
            standardise=False,
            seed=seed,
            preparation=preparation,
        )

    def read_inputs(
        self, path: Path, *, preparation: Mapping[str, Tensor], chunk_rows: int
    ) -> Iterator[Mapping[str, BatchInput]]:
        """Stream new texts from a file; see `read_texts`."""
        yield from read_texts(path, preparation=preparation, chunk_rows=chunk_rows)

    def text_inputs(
        self, texts: Sequence[str], *, preparation: Mapping[str, Tensor]
    ) -> Mapping[str, BatchInput]:
        """The inputs of these texts as one batch."""
        return text_batch(texts, preparation=preparation)


def read_goemotions() -> Examples:
    """The rows of the three files, in their order.

    Raises:
        UserError: a file is missing or malformed.
    """
    label_names = _read_names(data_file(_FOLDER, "labels.txt"))
    texts: list[str] = []
    labels: list[list[int]] = []
    sizes = []
    for file in _PARTS:
        before = len(texts)
        for text, numbers in _read_rows(data_file(_FOLDER, file), label_names):
            texts.append(text)
            labels.append(numbers)
        sizes.append(len(texts) - before)
    y_NL = torch.zeros(len(texts), len(label_names))
    for row, numbers in enumerate(labels):
        y_NL[row, numbers] = 1
    return Examples(
        label_names=label_names,
        y_NL=y_NL,
        text=texts,
        part_N=np.repeat(np.array([*_PARTS.values()], dtype=np.int8), sizes),
        notes=_notes(texts),
    )


def _read_names(path: Path) -> tuple[str, ...]:
    with path.open("rb") as file:
        lines = NumberedLines(file, path)
        names: list[str] = []
        for line in lines:
            name = line.strip()
            if not name or name in names:
                raise lines.error(
                    f"{'a label has no name' if not name else name + ' stands twice'}; get it again."
                )
            names.append(name)
    return tuple(names)


def _read_rows(path: Path, label_names: Sequence[str]) -> Iterator[tuple[str, list[int]]]:
    """Text and label numbers of each line: text, numbers with commas, name of the comment, between tabs.

    The file knows no quotes: a " is a sign like any other. A CSV reader would join lines that begin with one.
    """
    numbers = {str(number): number for number in range(len(label_names))}
    with path.open("rb") as file:
        lines = NumberedLines(file, path)
        for line in lines:
            cells = line.rstrip("\r\n").split("\t")
            if len(cells) != 3:
                raise lines.error(f"{len(cells)} cells instead of 3 between tabs; get the file again.")
            known = [numbers.get(number) for number in cells[1].split(",")]
            if None in known:
                raise lines.error(f"{cells[1]!r} are not numbers of the {len(numbers)} labels; get it again.")
            yield cells[0], [number for number in known if number is not None]


def _notes(texts: Sequence[str]) -> tuple[str, ...]:
    masked = sum(any(mask in text for mask in _MASKS) for text in texts)
    blank = sum(not text.strip() for text in texts)
    notes = []
    if masked:
        notes.append(
            f"{masked} of {len(texts)} texts hold {' or '.join(_MASKS)}, which the publishers put in "
            "the place of names and religions."
        )
    if blank:
        notes.append(f"{blank} of {len(texts)} texts {'is' if blank == 1 else 'are'} empty.")
    return tuple(notes)
