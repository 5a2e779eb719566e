"""The MULAN data sets: published ARFF train and test files with an XML label header."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from annotated_types import Interval
from torch import Tensor

from mlc.data.arff_file import ArffFile
from mlc.data.dataset import Dataset, Split
from mlc.data.label_header import read_label_header
from mlc.data.notes import label_notes, listed
from mlc.data.root import data_file
from mlc.data.schema import Attribute, Floats, Schema
from mlc.data.standardise import fit_standardisation
from mlc.data.stratify import stratified_split
from mlc.data.table_inputs import prepare, read_table
from mlc.data.weights import check_weights, normalise_weights, weight_column, weight_notes
from mlc.errors import UserError

_CHUNK_ROWS = 4096


@dataclass(frozen=True)
class _Table:
    schema: Schema
    x_ND: Floats
    y_NL: Tensor
    weight_N: Floats | None

    @property
    def n_counting(self) -> int:
        """Number of rows with a known label and a weight above 0."""
        counts_N = ~self.y_NL.isnan().all(1).numpy()
        return int((counts_N if self.weight_N is None else counts_N & (self.weight_N > 0)).sum())

    def select(self, rows: Tensor) -> "_Table":
        """The table of these rows (int64 indices)."""
        weight_N = None if self.weight_N is None else self.weight_N[rows]
        return _Table(self.schema, self.x_ND[rows], self.y_NL[rows], weight_N)


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
    ) -> None:
        self.name = name
        self.folder = folder
        self.train = train
        self.test = test
        self.labels = labels
        self.valid_fraction = valid_fraction
        self.standardise = standardise
        self.weight = weight

    def load(self, *, seed: int) -> Dataset:
        """Read both files, hold out the validation rows, impute and standardise.

        Raises:
            UserError: a file is missing, cut or malformed, the two files do not fit each other, a weight is
                not usable, or a split has nothing to count.
        """
        label_names = read_label_header(data_file(self.folder, self.labels))
        published = self._read(self.train, label_names)
        test = self._read(self.test, label_names)
        if test.schema != published.schema:
            raise UserError(f"The features of {self.test} are not those of {self.train}, in the same order.")

        rest, held = stratified_split(published.y_NL, fraction=self.valid_fraction, seed=seed)
        tables = {"train": published.select(rest), "valid": published.select(held), "test": test}
        self._check_sizes(tables)
        preparation = self._fit(published.schema, tables["train"].x_ND)
        weights = self._weights(tables)
        splits = {
            key: Split({"x": prepare(table.x_ND, preparation)}, table.y_NL, weights.get(key))
            for key, table in tables.items()
        }
        return Dataset(
            name=self.name,
            label_names=label_names,
            **splits,
            preparation=preparation,
            notes=(
                f"{len(held)} of the {len(published.y_NL)} training rows are held out for validation.",
                *(weight_notes(self.weight, weights) if self.weight is not None else ()),
                *_feature_notes(published.schema, {key: table.x_ND for key, table in tables.items()}),
                *label_notes(label_names, {key: table.y_NL for key, table in tables.items()}),
            ),
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

        x_chunks, y_chunks = [np.empty((0, schema.n_columns))], [torch.empty(0, len(label_names))]
        weight_chunks = [np.empty(0)]
        for codes_BA, lines in source.chunks(_CHUNK_ROWS):
            x_chunks.append(schema.expand(codes_BA[:, columns.features]))
            y_chunks.append(_targets(codes_BA[:, columns.labels], label_attributes, path, lines))
            if self.weight is not None:
                weight_chunks.append(codes_BA[:, columns.weight].copy())  # a view would keep all columns
                check_weights(weight_chunks[-1], name=self.weight, path=path, lines=lines)
        return _Table(
            schema,
            np.concatenate(x_chunks),
            torch.cat(y_chunks),
            None if self.weight is None else np.concatenate(weight_chunks),
        )

    def _columns(
        self, path: Path, attributes: tuple[Attribute, ...], label_names: tuple[str, ...]
    ) -> _Columns:
        places = {attribute.name: place for place, attribute in enumerate(attributes)}
        unknown = [label for label in label_names if label not in places]
        if unknown:
            raise UserError(
                f"{path} has no attribute for {len(unknown)} labels of {self.labels}: {listed(unknown)}; "
                "take both files from the same data set."
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

    def _check_sizes(self, tables: Mapping[str, _Table]) -> None:
        n_train, n_valid, n_test = (len(table.y_NL) for table in tables.values())
        if not n_train or not n_valid or not n_test:
            raise UserError(
                f"{self.name}: {n_train} training, {n_valid} validation and {n_test} test rows; "
                "every split needs one, so change valid_fraction or the files."
            )
        needed = "a known label" + (f" and a weight above 0 in {self.weight}" if self.weight else "")
        for key, table in tables.items():
            if not table.n_counting:
                raise UserError(
                    f"{self.name}: no {key} row has {needed}; every split needs one, "
                    "so change valid_fraction or the files."
                )

    def _weights(self, tables: Mapping[str, _Table]) -> dict[str, Tensor]:
        """Scaled weights of the splits that have any, by the name of the split."""
        return {
            key: normalise_weights(table.weight_N)
            for key, table in tables.items()
            if table.weight_N is not None
        }

    def _fit(self, schema: Schema, x_ND: Floats) -> dict[str, Tensor]:
        """The tensors that `prepare` needs; a column without any value is filled with 0."""
        known_D = (~np.isnan(x_ND)).sum(axis=0).clip(min=1)
        low_D, high_D = np.fmin.reduce(x_ND), np.fmax.reduce(x_ND)
        # Clipped, because rounding would make a constant column with gaps look as if it varied.
        fill_D = np.nan_to_num(np.clip(np.nansum(x_ND, axis=0) / known_D, low_D, high_D))
        filled_ND = np.where(np.isnan(x_ND), fill_D, x_ND)
        mean, scale = fit_standardisation(torch.from_numpy(filled_ND))
        if not self.standardise:
            mean, scale = torch.zeros_like(mean), torch.ones_like(scale)
        return {"schema": schema.to_tensor(), "fill": torch.from_numpy(fill_D), "mean": mean, "scale": scale}


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


def _feature_notes(schema: Schema, raw: Mapping[str, Floats]) -> list[str]:
    """Sentences on nominal features, missing values and constant columns."""
    notes = []
    one_hot = [attribute for attribute in schema.attributes if attribute.one_hot]
    if one_hot:
        n_columns = sum(attribute.n_columns for attribute in one_hot)
        names = listed([attribute.name for attribute in one_hot])
        notes.append(f"{len(one_hot)} nominal features became {n_columns} one-hot columns: {names}.")
    named = [a for a in schema.attributes if a.values and not a.one_hot and set(a.values) != {"0", "1"}]
    if named:
        meanings = listed([f"{attribute.name} (1 is {attribute.high})" for attribute in named])
        notes.append(f"{len(named)} nominal features became 0/1 columns: {meanings}.")
    for split, x_ND in raw.items():
        n_missing = int(np.isnan(x_ND).sum())
        if n_missing:
            notes.append(
                f"{n_missing} missing {split} values were imputed with the training mean of their column."
            )
    train = raw["train"]
    n_constant = int((~(np.fmax.reduce(train) > np.fmin.reduce(train))).sum())
    if n_constant:
        notes.append(f"{n_constant} of {train.shape[1]} columns are constant in train.")
    return notes
