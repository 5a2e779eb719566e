"""Numeric and nominal features as standardised columns, fitted on the training rows."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from mlc.data.categories import unseen_note
from mlc.data.examples import Codes
from mlc.data.notes import counted, listed
from mlc.data.schema import Floats, Schema
from mlc.data.standardise import fit_standardisation, standardise


def fit_numbers(train: Codes, *, standardised: bool) -> dict[str, Tensor]:
    """The tensors that `prepare` needs; a column without any value is filled with 0.

    Args:
        train: the training rows.
        standardised: give every column the mean 0 and the standard deviation 1; else it stays as it is.

    Returns:
        "schema", "fill", "mean" and "scale".
    """
    x_ND = train.schema.expand(train.codes_NA)
    known_D = (~np.isnan(x_ND)).sum(axis=0).clip(min=1)
    low_D, high_D = np.fmin.reduce(x_ND), np.fmax.reduce(x_ND)
    # Clipped, because rounding would make a constant column with gaps look as if it varied.
    fill_D = np.nan_to_num(np.clip(np.nansum(x_ND, axis=0) / known_D, low_D, high_D))
    mean, scale = fit_standardisation(torch.from_numpy(np.where(np.isnan(x_ND), fill_D, x_ND)))
    if not standardised:
        mean, scale = torch.zeros_like(mean), torch.ones_like(scale)
    return {
        "schema": train.schema.to_tensor(),
        "fill": torch.from_numpy(fill_D),
        "mean": mean,
        "scale": scale,
    }


def prepare(x_ND: Floats, preparation: Mapping[str, Tensor]) -> Tensor:
    """Impute missing values (NaN) with "fill", then standardise with "mean" and "scale"; float32."""
    x = torch.from_numpy(x_ND)
    x = torch.where(x.isnan(), preparation["fill"], x)
    return standardise(x, mean=preparation["mean"], scale=preparation["scale"]).float()


def number_notes(
    schema: Schema, raw: Mapping[str, Floats], *, unseen: Mapping[str, int] | None = None
) -> list[str]:
    """Sentences on nominal features, missing values and constant columns.

    Args:
        schema: what the features are.
        raw: the codes N×A of each split, by its name; one of them is "train".
        unseen: how many values of its categories each split has that the features lack.
    """
    notes = _nominal_notes(schema)
    notes += [unseen_note(number, split) for split, number in (unseen or {}).items() if number]
    for split, codes_NA in raw.items():
        n_missing = int(np.isnan(codes_NA).sum())
        if n_missing:
            missing = counted(n_missing, f"missing {split} value was", f"missing {split} values were")
            notes.append(f"{missing} imputed with the training mean of the column.")
    x_ND = schema.expand(raw["train"])
    n_constant = int((~(np.fmax.reduce(x_ND) > np.fmin.reduce(x_ND))).sum())
    if n_constant:
        of_all = counted(x_ND.shape[1], "column")
        notes.append(f"{n_constant} of {of_all} {'is' if n_constant == 1 else 'are'} constant in train.")
    return notes


def _nominal_notes(schema: Schema) -> list[str]:
    notes = []
    one_hot = [attribute for attribute in schema.attributes if attribute.one_hot]
    if one_hot:
        n_columns = sum(attribute.n_columns for attribute in one_hot)
        names = listed([attribute.name for attribute in one_hot])
        features = counted(len(one_hot), "nominal feature")
        notes.append(f"{features} became {n_columns} one-hot columns: {names}.")
    named = [a for a in schema.attributes if a.values and not a.one_hot and set(a.values) != {"0", "1"}]
    if named:
        meanings = listed([f"{attribute.name} (1 is {attribute.high})" for attribute in named])
        became = counted(
            len(named), "nominal feature became a 0/1 column", "nominal features became 0/1 columns"
        )
        notes.append(f"{became}: {meanings}.")
    return notes
