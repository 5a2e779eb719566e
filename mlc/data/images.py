"""Your own pictures as a data set: a folder, and a table that names them with their labels."""

import logging
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Interval, Len, MinLen
from torch import Tensor

from mlc.batch import BatchInput
from mlc.data.dataset import Dataset
from mlc.data.examples import Examples
from mlc.data.notes import counted
from mlc.data.picture_files import load_pictures
from mlc.data.picture_inputs import read_pictures
from mlc.data.preparation import as_batch, prepare_inputs
from mlc.data.table import Table
from mlc.data.text.encoder import TextEncoder
from mlc.errors import UserError
from mlc.inputs import MAIN
from mlc.paths import home_path

_ENDINGS = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
_log = logging.getLogger(__name__)

Share = Annotated[float, Interval(gt=0, lt=1)]


class Images:
    """Pictures in a folder, with a table of their labels; the pictures are the only input.

    Pictures are decoded once, into bytes; see `load_pictures`. For pictures beside a text or numbers, or more
    roles of columns, use dataset=table with dataset.picture.

    Args:
        folder: where the pictures are, from the working directory.
        table: the table (.csv, .tsv, .jsonl, .parquet), from the folder.
        name: short name of the data set; null for the name of the folder.
        picture: the column with the path of each picture, from the folder.
        labels: the column that lists the labels of a picture, or a list of 0/1 columns; see Table.
        label_delimiter: what separates labels in a text; null finds out which of | ; , does, and says so.
        size: height and width that pictures are resized to, whatever their proportions; null where all have
            the same size, which is kept.
        colour: grey or rgb.
        workers: processes that decode pictures; 0 decodes them in the main process.
        cache: keep the decoded pictures below the data root for later runs.
        split: the column that says train, valid or test; null holds rows out.
        group: pictures with the same value in this column stay in one split; null where they are independent.
        valid_fraction: share of the pictures held out for validation, where `split` brings none.
        test_fraction: share of the pictures held out for testing, where `split` brings none.
        split_by: labels keeps the share of every label in each part; random does not look at them.
        folds: number of folds of a cross-validation, in place of `split`; or null.
        fold: the fold that is tested on, from 0.
    """

    def __init__(
        self,
        *,
        folder: str | None = None,
        table: str = "labels.csv",
        name: str | None = None,
        picture: str = "file",
        labels: str | Annotated[list[str], MinLen(1)] = "labels",
        label_delimiter: Annotated[str, MinLen(1)] | None = None,
        size: Annotated[list[Annotated[int, Gt(0)]], Len(2, 2)] | None = None,
        colour: Literal["grey", "rgb"] = "rgb",
        workers: Annotated[int, Ge(0)] = 2,
        cache: bool = True,
        split: str | None = None,
        group: str | None = None,
        valid_fraction: Share = 0.15,
        test_fraction: Share = 0.2,
        split_by: Literal["labels", "random"] = "labels",
        folds: Annotated[int, Ge(2)] | None = None,
        fold: Annotated[int, Ge(0)] = 0,
    ) -> None:
        root = home_path(folder or "")
        self.folder = folder
        self._table = Table(
            path=str(root / table),
            name=name or root.absolute().name,
            labels=labels,
            label_delimiter=label_delimiter,
            picture=picture,
            picture_folder=str(root),
            picture_size=size,
            picture_colour=colour,
            split=split,
            group=group,
            valid_fraction=valid_fraction,
            test_fraction=test_fraction,
            split_by=split_by,
            folds=folds,
            fold=fold,
        )
        self._table.pictures = replace(self._table.pictures, workers=workers, cache=cache)

    def load(
        self, *, seed: int, text: TextEncoder | None = None, preparation: Mapping[str, Tensor] | None = None
    ) -> Dataset:
        """Read the table, decode the pictures and split them.

        Raises:
            UserError: the folder or the table is missing or malformed, or pictures cannot be used.
        """
        if self.folder is None:
            raise UserError("dataset.folder is not set: name the folder, as in dataset.folder=photos")
        if not home_path(self.folder).is_dir():
            raise UserError(f"dataset.folder={self.folder} is no folder: name the one with the pictures")
        return self._table.load(seed=seed, text=text, preparation=preparation)

    def read_inputs(
        self, path: Path, *, preparation: Mapping[str, Tensor], chunk_rows: int
    ) -> Iterator[Mapping[str, BatchInput]]:
        """Stream new pictures.

        Args:
            path: a folder, with the pictures of its subfolders (see `files_in`); a table with the column of
                paths, which start at its own folder; or a .npy file (see `read_pictures`).
            preparation: what was fitted on the training pictures.
            chunk_rows: at most this many pictures at a time.

        Raises:
            UserError: nothing is there, or pictures cannot be used.
        """
        if path.is_dir():
            yield from self._in_folder(path, preparation, chunk_rows)
        elif path.suffix.lower() == ".npy":
            mean, scale = preparation["picture.mean"], preparation["picture.scale"]
            shape = tuple(preparation["picture.shape"].tolist())
            for x in read_pictures(path, shape=shape, mean=mean, scale=scale, chunk_rows=chunk_rows):
                yield {MAIN: x}
        else:
            beside = Table(picture=self._table.roles.picture)
            beside.pictures = replace(self._table.pictures, folder=None)
            yield from beside.read_inputs(path, preparation=preparation, chunk_rows=chunk_rows)

    def files_in(self, folder: Path) -> list[str]:
        """The pictures in a folder and its subfolders, as paths from there, sorted with 2 before 10.

        Links to folders are not followed, and hidden files and folders are no pictures.
        """
        return _look(folder)[0]

    def _in_folder(
        self, folder: Path, preparation: Mapping[str, Tensor], chunk_rows: int
    ) -> Iterator[Mapping[str, BatchInput]]:
        names, n_others = _look(folder)
        if not names:
            raise UserError(f"{folder} has no pictures ({', '.join(_ENDINGS)}); name the folder that has.")
        _log.warning(
            "%s: %s, those of subfolders among them, sorted by path.", folder, counted(len(names), "picture")
        )
        if n_others:
            others = counted(n_others, "other file is", "other files are")
            _log.warning("%s: %s left out.", folder, others)
        options = self._table.pictures
        for start in range(0, len(names), chunk_rows):
            pictures = load_pictures(
                names[start : start + chunk_rows],
                folder=folder,
                size=options.size,
                colour=options.colour,
                workers=0,
                cache=False,
            )
            examples = Examples(label_names=(), y_NL=torch.zeros(len(pictures), 0), pictures=pictures)
            yield as_batch(prepare_inputs(examples, preparation))


def _look(folder: Path) -> tuple[list[str], int]:
    """The pictures below a folder, and the number of other files that are not hidden."""
    found: list[str] = []
    n_others = 0
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if name.startswith("."):
                continue
            if name.lower().endswith(_ENDINGS):
                found.append((Path(place) / name).relative_to(folder).as_posix())
            else:
                n_others += 1
    return sorted(found, key=_natural), n_others


def _natural(path: str) -> list[tuple[int, str]]:
    """The key that sorts numbers by their size, as in 2.png before 10.png; the rest as text."""
    pieces = re.split(r"([0-9]+)", path)
    return [(int(piece) if piece.isdecimal() and piece.isascii() else -1, piece) for piece in pieces]
