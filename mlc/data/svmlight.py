"""Sparse features and label numbers from files in svmlight format."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Ge, Interval
from torch import Tensor

from mlc.batch import BatchInput
from mlc.data.dataset import Dataset
from mlc.data.examples import OPEN, TEST, Examples
from mlc.data.pipeline import build_dataset
from mlc.data.regular_file import check_file
from mlc.data.root import data_root
from mlc.data.splitting import Splitting
from mlc.data.svmlight_arrays import FlatFiles, Values, block_rows
from mlc.data.svmlight_block import Limits
from mlc.data.svmlight_file import SvmlightFile
from mlc.data.text.encoder import TextEncoder
from mlc.errors import UserError
from mlc.paths import home_path

_log = logging.getLogger(__name__)

_FIRST = "svmlight.first_index"  # preparation: what the first feature is called
_WIDTH = "sparse.width"


class Svmlight:
    """Multi-label data in svmlight format: "labels index:value index:value ... # comment" on each line.

    Labels are integers joined by commas, or nothing. Where the first line is a header with the numbers of
    rows, features and labels, as in the extreme-classification repository, indices start at 0 and the labels
    are 0 to L - 1, whether they occur or not. Without it a label is a number that occurs, and the features go
    up to the highest index that occurs. A label that stands twice in a row is counted and dropped; an index
    that does is refused. Indices of a row may stand in any order.

    The data stay as sparse as they are: the flat arrays are read once, and splits are views of them.

    Args:
        path: the file, which must be named; relative to the current folder or to the data root.
        test: a second file that is tested on; null holds out rows of the first.
        zero_based: whether feature indices start at 0 or at 1; null takes 0 for files with a header, and else
            0 where the index 0 occurs.
        values: "as_they_are"; "binary": 1 wherever a feature is given; "unit_length": each row is divided by
            its Euclidean length.
        valid_fraction: share of the rows, without those that are tested on, held out for validation.
        test_fraction: share of the rows that is tested on where there is no test file.
        split_by: "labels" keeps the share of every label, "random" is quicker.
        folds: number of folds of a cross-validation over all rows; null for one split.
        fold: the fold that is tested on, from 0.
    """

    def __init__(
        self,
        *,
        path: str | None = None,
        test: str | None = None,
        zero_based: bool | None = None,
        values: Values = "as_they_are",
        valid_fraction: Annotated[float, Interval(gt=0, lt=1)] = 0.15,
        test_fraction: Annotated[float, Interval(gt=0, lt=1)] = 0.2,
        split_by: Literal["labels", "random"] = "labels",
        folds: Annotated[int, Ge(2)] | None = None,
        fold: Annotated[int, Ge(0)] = 0,
    ) -> None:
        self.path = path
        self.test = test
        self.zero_based = zero_based
        self.values: Values = values
        self.splitting = Splitting(
            valid_fraction=valid_fraction, test_fraction=test_fraction, by=split_by, folds=folds, fold=fold
        )

    def load(
        self, *, seed: int, text: TextEncoder | None = None, preparation: Mapping[str, Tensor] | None = None
    ) -> Dataset:
        """Read the files and split the rows.

        Raises:
            UserError: a file is missing or malformed, or the two files do not fit each other.
        """
        if self.path is None:
            raise UserError("dataset.path is missing: name a file in svmlight format, such as train.svm.")
        files = [SvmlightFile(_find(path)) for path in (self.path, self.test) if path is not None]
        declared = self._declared(files, preparation)
        flat = FlatFiles.read(files, declared, self.values)
        first = declared.first
        notes = flat.notes()
        if declared.last is None and self.zero_based is None:
            first = min(flat.lowest, 1)
            notes.append(
                f"Feature indices are taken to start at {first}, because the index 0 "
                f"{'occurs' if first == 0 else 'does not occur'} (dataset.zero_based says otherwise)."
            )
        width = (flat.highest if declared.last is None else declared.last) + 1 - first
        label_names, labels = flat.labels(declared.n_labels)
        sparse = flat.features(first, width)
        part_N = None
        if self.test is not None:
            part_N = np.repeat(np.array([OPEN, TEST], dtype=np.int8), flat.rows_of_file)
        del flat  # what the splits do not need can go
        dataset = build_dataset(
            Examples(label_names=label_names, y_NL=labels, sparse=sparse, part_N=part_N, notes=tuple(notes)),
            name=Path(self.path).stem,
            splitting=self.splitting,
            text=text,
            standardise=False,
            seed=seed,
            preparation=preparation,
        )
        return replace(dataset, preparation={**dataset.preparation, _FIRST: torch.tensor(first)})

    def read_inputs(
        self, path: Path, *, preparation: Mapping[str, Tensor], chunk_rows: int
    ) -> Iterator[Mapping[str, BatchInput]]:
        """Stream new rows from a file in svmlight format; labels, if there are any, are not looked at.

        A feature that the training files did not have is left out, as it has no weight; their number is
        logged. Where the new file has a header, its number of features must be the model's.
        """
        file = SvmlightFile(path)
        first, width = int(preparation[_FIRST]), int(preparation[_WIDTH])
        if file.header is not None and file.header.features != width:
            raise UserError(
                f"{path}: the header says {file.header.features} features, but the model was trained with "
                f"{width}; give it rows with the same features."
            )
        n_unknown, n_skipped = 0, 0
        for block in file.blocks(
            Limits(first=first, last=None if file.header is None else first + width - 1)
        ):
            n_skipped += block.skipped
            known = block.with_ids_up_to(first + width - 1)
            n_unknown += len(block.ids_M) - len(known.ids_M)
            rows = block_rows(known, first, width, self.values)
            for rows_B in torch.arange(len(rows)).split(chunk_rows):
                yield {"x": rows[rows_B]}
        if n_unknown:
            _log.warning("%s: features left out because the model does not know them: %d.", path, n_unknown)
        if n_skipped:
            _log.warning("%s: lines skipped, as they hold nothing or only a comment: %d.", path, n_skipped)

    def _declared(self, files: Sequence[SvmlightFile], preparation: Mapping[str, Tensor] | None) -> Limits:
        """What is known of indices and labels before the files are read."""
        headers = [(file.path, file.header) for file in files if file.header is not None]
        features, labels = (headers[0][1].features, headers[0][1].labels) if headers else (None, None)
        for path, header in headers[1:]:
            if (header.features, header.labels) != (features, labels):
                raise UserError(
                    f"{path}: the header says {header.features} features and {header.labels} labels, but "
                    f"{headers[0][0]} has {features} and {labels}; take both files from the same data set."
                )
        first = int(self.zero_based is False)
        if preparation is not None and _FIRST in preparation:
            first, features = int(preparation[_FIRST]), int(preparation[_WIDTH])
        return Limits(first, None if features is None else first + features - 1, labels)


def _find(path: str) -> Path:
    """The file at `path`, from the current folder or else from the data root."""
    places = (home_path(path), data_root() / path)
    for place in (*filter(os.path.isfile, places), *filter(os.path.exists, places)):
        check_file(place)
        return place
    tried = " nor ".join(dict.fromkeys(map(str, places)))
    raise UserError(f"there is no file {tried}; set dataset.path to a file in svmlight format.")
