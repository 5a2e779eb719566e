"""The MULAN data sets: published ARFF train and test files with an XML label header."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Interval
from torch import Tensor

from mlc.data.arff_file import ArffFile
from mlc.data.dataset import Dataset
from mlc.data.examples import TEST, TRAIN, Codes, Examples
from mlc.data.label_header import read_label_header
from mlc.data.notes import counted, listed
from mlc.data.pipeline import build_dataset
from mlc.data.root import data_file
from mlc.data.schema import Attribute, Floats, Schema
from mlc.data.splitting import Splitting
from mlc.data.table_inputs import read_table
from mlc.data.text.encoder import TextEncoder
from mlc.data.weights import check_weights, weight_column
from mlc.errors import UserError

_CHUNK_ROWS = 4096


@dataclass(frozen=True)
class _Table:
    """One file: codes of its features, targets, and weights (none where the data set has no weight)."""

    schema: Schema
    codes_NA: Floats
    y_NL: Tensor
    weight_N: Floats


@dataclass(frozen=True)
class _Columns:
    """Which attributes of a file are what, by their place."""

    features: list[int]
    labels: list[int]
    weight: int | None


class Mulan:
    """A data set in MULAN's format, with the published split into train and test.

    The validation split is held out from train, stratified over the labels. Everything fitted (the imputed
    means, the standardisation) is fitted on the rows that stay in train, each of which counts once, whatever
    its weight.

    A missing value is written ?. In a feature it is imputed with the training mean of its column; in a label
    it is an unknown target (NaN). A row whose labels are all unknown is kept. Notes count all three.

    Args:
        name: short name of the data set.
        folder: folder of the files below the data root.
        train: ARFF file with the published training rows.
        test: ARFF file with the published test rows.
        labels: XML file with the names of the labels.
        valid_fraction: share of the published training rows held out for validation.
        standardise: give every column the mean 0 and the standard deviation 1.
        weight: numeric attribute of both files that is the weight of its row, 0 or more, and no input; null
            where all rows weigh the same. Weights are scaled to the mean 1 in each split.
        folds: number of folds of a cross-validation over all rows, which sets the published split aside; null
            for the published split.
        fold: the fold that is tested on, from 0.
    """

    def __init__(
        self,
        *,
        name: str,
        folder: str,
        train: str,
        test: str,
        labels: str,
        valid_fraction: Annotated[float, Interval(gt=0, lt=1)] = 0.15,
        standardise: bool = True,
        weight: str | None = None,
        folds: Annotated[int, Ge(2)] | None = None,
        fold: Annotated[int, Ge(0)] = 0,
    ) -> None:
        self.name = name
        self.folder = folder
        self.train = train
        self.test = test
        self.labels = labels
        self.splitting = Splitting(valid_fraction=valid_fraction, folds=folds, fold=fold)
        self.standardise = standardise
        self.weight = weight

    def load(
        self, *, seed: int, text: TextEncoder | None = None, preparation: Mapping[str, Tensor] | None = None
    ) -> Dataset:
        """Read both files, hold out the validation rows, impute and standardise.

        Raises:
            UserError: a file is missing, cut or malformed, the two files do not fit each other, a weight is
                not usable, or a split has nothing to count.
        """
        label_names = read_label_header(data_file(self.folder, self.labels))
        published, test = self._read(self.train, label_names), self._read(self.test, label_names)
        if test.schema != published.schema:
            raise UserError(f"The features of {self.test} are not those of {self.train}, in the same order.")
        tables = (published, test)
        examples = Examples(
            label_names=label_names,
            y_NL=torch.cat([table.y_NL for table in tables]),
            codes=Codes(published.schema, np.concatenate([table.codes_NA for table in tables])),
            weight_N=np.concatenate([table.weight_N for table in tables]) if self.weight else None,
            weight_name=self.weight or "",
            part_N=np.repeat(np.array([TRAIN, TEST], dtype=np.int8), [len(table.y_NL) for table in tables]),
        )
        return build_dataset(
            examples,
            name=self.name,
            splitting=self.splitting,
            text=text,
            standardise=self.standardise,
            seed=seed,
            preparation=preparation,
        )

    def read_inputs(
        self, path: Path, *, preparation: Mapping[str, Tensor], chunk_rows: int
    ) -> Iterator[Mapping[str, Tensor]]:
        """Stream new rows from a .csv, .arff or .npy file; see `read_table`."""
        for x_BD in read_table(path, preparation=preparation, chunk_rows=chunk_rows):
            yield {"x": x_BD}

    def _read(self, file: str, label_names: tuple[str, ...]) -> _Table:
        path = data_file(self.folder, file)
        source = ArffFile(path)
        columns = self._columns(path, source.attributes, label_names)
        schema = Schema(tuple(source.attributes[column] for column in columns.features))
        label_attributes = [source.attributes[column] for column in columns.labels]

        codes_chunks, y_chunks = [np.empty((0, len(schema.attributes)))], [torch.empty(0, len(label_names))]
        weight_chunks = [np.empty(0)]
        for codes_BA, lines in source.chunks(_CHUNK_ROWS):
            codes_chunks.append(codes_BA[:, columns.features])
            y_chunks.append(_targets(codes_BA[:, columns.labels], label_attributes, path, lines))
            if self.weight is not None:
                weight_chunks.append(codes_BA[:, columns.weight].copy())  # a view would keep all columns
                check_weights(weight_chunks[-1], name=self.weight, path=path, lines=lines)
        return _Table(
            schema, np.concatenate(codes_chunks), torch.cat(y_chunks), np.concatenate(weight_chunks)
        )

    def _columns(
        self, path: Path, attributes: tuple[Attribute, ...], label_names: tuple[str, ...]
    ) -> _Columns:
        places = {attribute.name: place for place, attribute in enumerate(attributes)}
        unknown = [label for label in label_names if label not in places]
        if unknown:
            raise UserError(
                f"{path} has no attribute for {counted(len(unknown), 'label')} of {self.labels}: "
                f"{listed(unknown)}; take both files from the same data set."
            )
        if self.weight in label_names:
            raise UserError(
                f"weight={self.weight} is a label in {self.labels}; name a numeric attribute that is not."
            )
        labels = [places[label] for label in label_names]
        weight = None if self.weight is None else weight_column(self.weight, attributes, path)
        features = sorted(set(places.values()).difference(labels, [weight]))
        if not features:
            others = f"a label in {self.labels}" + (" or the weight" if self.weight is not None else "")
            raise UserError(f"{path}: every attribute is {others}; nothing is left to learn from.")
        return _Columns(features, labels, weight)


def _targets(codes_BL: Floats, attributes: list[Attribute], path: Path, lines: list[int]) -> Tensor:
    """The label columns as float32 targets, 0, 1 or NaN; `lines` are the line numbers of the rows."""
    y_BL = codes_BL.copy()
    for column, attribute in enumerate(attributes):
        if attribute.values == ("1", "0"):
            y_BL[:, column] = 1 - codes_BL[:, column]
        elif attribute.values not in ((), ("0", "1")):
            raise UserError(f"{path}: the label {attribute.name} must have the values {{0,1}}.")
    wrong_BL = (y_BL != 0) & (y_BL != 1) & ~np.isnan(y_BL)
    if wrong_BL.any():
        row, column = np.argwhere(wrong_BL)[0]
        raise UserError(f"{path}, line {lines[row]}: the label {attributes[column].name} is not 0, 1 or ?.")
    return torch.from_numpy(y_BL).float()
