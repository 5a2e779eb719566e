"""The inputs of the rows of a table: text, picture, numbers and categories."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mlc.data.categories import unseen_note
from mlc.data.notes import counted
from mlc.data.picture_files import load_pictures
from mlc.data.schema import Floats
from mlc.data.table_columns import paths, texts
from mlc.data.table_file.base import Chunk, TableFile
from mlc.data.table_schema import CellCoder
from mlc.paths import home_path


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """How pictures are read.

    Args:
        folder: where their paths start; None for the folder of the table.
        size: height and width that they are resized to; None where all have the same size.
        colour: of the result.
        workers: processes that decode training pictures.
        cache: keep decoded training pictures for later runs.
    """

    folder: str | None
    size: Sequence[int] | None
    colour: Literal["grey", "rgb"]
    workers: int = 2
    cache: bool = True


class InputReader:
    """Collects the inputs of rows, chunk after chunk.

    Args:
        table: the file.
        coder: its numeric and nominal columns.
        text: its column of texts, or None.
        picture: its column of image paths, or None.
        pictures: how they are read.
    """

    def __init__(
        self, table: TableFile, coder: CellCoder, *, text: str | None, picture: str | None, pictures: Pictures
    ) -> None:
        self.columns = [
            *(name for name in (text, picture) if name is not None),
            *coder.kinds,
        ]
        self._table = table
        self._text = text
        self._picture = picture
        self._pictures = pictures
        self._coder = coder
        self._n_missing = 0
        self._n_no_text = 0
        self._codes: list[Floats] = []
        self._texts: list[str] = []
        self._paths: list[str] = []

    def add(self, chunk: Chunk) -> None:
        """Take the inputs of a few more rows."""
        if self._text is not None:
            found = texts(self._table, self._text, chunk)
            self._n_no_text += found.count("")
            self._texts += found
        if self._picture is not None:
            self._paths += paths(self._table, self._picture, chunk)
        if self._coder.kinds:
            codes_BA = self._coder(self._table, chunk)
            self._n_missing += int(np.isnan(codes_BA).sum())
            self._codes.append(codes_BA)

    def take(self, *, keep_pictures: bool) -> dict[str, Any]:
        """The inputs of all rows since the last time, by the names that Examples gives them.

        Args:
            keep_pictures: keep the decoded pictures for later runs.
        """
        found: dict[str, Any] = {}
        if self._text is not None:
            found["text"], self._texts = self._texts, []
        if self._picture is not None:
            folder = self._table.path.parent if self._pictures.folder is None else Path(self._pictures.folder)
            found["pictures"] = load_pictures(
                self._paths,
                folder=home_path(folder),
                size=self._pictures.size,
                colour=self._pictures.colour,
                workers=self._pictures.workers if keep_pictures else 0,  # a chunk is too small for them
                cache=self._pictures.cache and keep_pictures,
            )
            self._paths = []
        if self._coder.kinds:
            found["codes"] = self._coder.finish(self._table, np.concatenate(self._codes))
            self._codes = []
        return found

    def repairs(self, *, imputed: bool) -> list[str]:
        """Sentences on what is missing in all rows so far.

        Args:
            imputed: also say how many values were imputed.
        """
        notes = []
        if self._n_no_text:
            rows = counted(self._n_no_text, "row has", "rows have")
            notes.append(f"{rows} no text in {self._text}, which is read as empty.")
        if self._coder.n_unseen:
            notes.append(unseen_note(self._coder.n_unseen))
        if imputed and self._n_missing:
            missing = counted(self._n_missing, "missing value was", "missing values were")
            notes.append(f"{missing} imputed with the training mean.")
        return notes
