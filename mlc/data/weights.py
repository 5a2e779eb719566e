"""Weights of rows, read from an attribute of a table."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mlc.data.notes import counted
from mlc.data.schema import Attribute, Floats
from mlc.errors import UserError


def weight_column(name: str, attributes: Sequence[Attribute], path: Path) -> int:
    """Where the attribute `name` stands, which must be a number.

    Raises:
        UserError: it is not there, or nominal.
    """
    column = next((i for i, attribute in enumerate(attributes) if attribute.name == name), None)
    if column is None:
        raise UserError(
            f"{path} has no attribute {name} to weigh its rows; name a numeric attribute or set weight=null."
        )
    if attributes[column].values:
        raise UserError(
            f"{path}: the attribute {name} is nominal, so it cannot weigh rows; "
            "name a numeric attribute or set weight=null."
        )
    return column


def check_weights(weight_B: Floats, *, name: str, path: Path, lines: Sequence[int]) -> None:
    """Raise a UserError with the line of the first weight that is negative or missing, if there is one."""
    wrong_B = ~(weight_B >= 0)  # written so that NaN is wrong too
    if wrong_B.any():
        line = lines[int(wrong_B.argmax())]
        raise UserError(
            f"{path}, line {line}: the weight {name} is negative or missing; give every row one of 0 or more."
        )


def normalise_weights(weight_N: Floats) -> Tensor:
    """The weights times the number that gives them the mean 1, as float32.

    Args:
        weight_N: finite, 0 or more, at least one above 0.
    """
    relative_N = weight_N / weight_N.max()  # first, so that the mean of tiny weights does not become 0
    return torch.from_numpy(relative_N / relative_N.mean()).float()


def weight_notes(name: str, weights: Mapping[str, Tensor]) -> list[str]:
    """Say which attribute weighs the rows, and count the rows of weight 0.

    Args:
        name: the attribute.
        weights: weight_N of each split, by the name of the split.
    """
    notes = [f"Rows are weighted by the attribute {name}, of mean 1 in each split; it is no input."]
    for split, weight_N in weights.items():
        n_zero = int(np.count_nonzero(weight_N.numpy() == 0))
        if n_zero:
            rows = counted(len(weight_N), f"{split} row")
            has = "has the weight 0 and counts" if n_zero == 1 else "have the weight 0 and count"
            notes.append(f"{n_zero} of {rows} {has} for nothing.")
    return notes
