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
from mlc.errors import UserError

_CHUNK_ROWS = 4096


@dataclass(frozen=True)
class _Table:
    schema: Schema
    x_ND: Floats
    y_NL: Tensor


class Mulan:
    """A data set in MULAN's format, with the published split into train and test.

    The validation split is held out from train, stratified over the labels. Everything fitted (the imputed
    means, the standardisation) is fitted on the rows that stay in train.

    Args:
        name: short name of the data set.
        folder: folder of the files below the data root.
        train: ARFF file with the published training rows.
        test: ARFF file with the published test rows.
        labels: XML file with the names of the labels.
        valid_fraction: share of the published training rows held out for validation.
        standardise: give every column the mean 0 and the standard deviation 1.
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
    ) -> None:
        self.name = name
        self.folder = folder
        self.train = train
        self.test = test
        self.labels = labels
        self.valid_fraction = valid_fraction
        self.standardise = standardise

    def load(self, *, seed: int) -> Dataset:
        """Read both files, hold out the validation rows, impute and standardise.

        Raises:
            UserError: a file is missing, cut or malformed, or the two files do not fit each other.
        """
        label_names = read_label_header(data_file(self.folder, self.labels))
        published = self._read(self.train, label_names)
        test = self._read(self.test, label_names)
        if test.schema != published.schema:
            raise UserError(f"The features of {self.test} are not those of {self.train}, in the same order.")

        rest, held = stratified_split(published.y_NL, fraction=self.valid_fraction, seed=seed)
        if not len(rest) or not len(held) or not len(test.y_NL):
            raise UserError(
                f"{self.name}: {len(rest)} training, {len(held)} validation and {len(test.y_NL)} test rows; "
                "every split needs one, so change valid_fraction or the files."
            )
        raw = {"train": published.x_ND[rest], "valid": published.x_ND[held], "test": test.x_ND}
        targets = {"train": published.y_NL[rest], "valid": published.y_NL[held], "test": test.y_NL}
        preparation = self._fit(published.schema, raw["train"])
        splits = {key: Split({"x": prepare(raw[key], preparation)}, targets[key]) for key in raw}
        return Dataset(
            name=self.name,
            label_names=label_names,
            **splits,
            preparation=preparation,
            notes=(
                f"{len(held)} of the {len(published.y_NL)} training rows are held out for validation.",
                *_feature_notes(published.schema, raw),
                *label_notes(label_names, targets),
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
        places = {attribute.name: place for place, attribute in enumerate(source.attributes)}
        unknown = [label for label in label_names if label not in places]
        if unknown:
            raise UserError(
                f"{path} has no attribute for {len(unknown)} labels of {self.labels}: {listed(unknown)}; "
                "take both files from the same data set."
            )
        label_columns = [places[label] for label in label_names]
        feature_columns = sorted(set(places.values()).difference(label_columns))
        if not feature_columns:
            raise UserError(
                f"{path}: every attribute is a label in {self.labels}; nothing is left to learn from."
            )
        schema = Schema(tuple(source.attributes[column] for column in feature_columns))
        label_attributes = [source.attributes[column] for column in label_columns]

        x_chunks, y_chunks = [np.empty((0, schema.n_columns))], [torch.empty(0, len(label_names))]
        for codes_BA, lines in source.chunks(_CHUNK_ROWS):
            x_chunks.append(schema.expand(codes_BA[:, feature_columns]))
            y_chunks.append(_targets(codes_BA[:, label_columns], label_attributes, path, lines))
        return _Table(schema, np.concatenate(x_chunks), torch.cat(y_chunks))

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
    """The label columns as float32 0/1 targets; `lines` are the line numbers of the rows."""
    y_BL = codes_BL.copy()
    for column, attribute in enumerate(attributes):
        if attribute.values == ("1", "0"):
            y_BL[:, column] = 1 - codes_BL[:, column]
        elif attribute.values not in ((), ("0", "1")):
            raise UserError(f"{path}: the label {attribute.name} must have the values {{0,1}}.")
    wrong_BL = (y_BL != 0) & (y_BL != 1)  # also what is missing
    if wrong_BL.any():
        row, column = np.argwhere(wrong_BL)[0]
        raise UserError(f"{path}, line {lines[row]}: the label {attributes[column].name} is not 0 or 1.")
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
