"""What the features of a table are, and how their values become numeric columns."""

import json
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]
LARGEST = float(np.finfo(np.float32).max)  # models compute in float32: what is larger would become infinite


@dataclass(frozen=True)
class Attribute:
    """One feature as its file declares it.

    Args:
        name: the name in the header.
        values: what a nominal feature can be, in declared order; empty for a number.
    """

    name: str
    values: tuple[str, ...] = ()

    @property
    def one_hot(self) -> bool:
        """True when the feature becomes one column for each of its values."""
        return len(self.values) > 2

    @property
    def n_columns(self) -> int:
        """How many numeric columns the feature becomes."""
        return len(self.values) if self.one_hot else 1

    @property
    def high(self) -> str:
        """The value that is 1 in the 0/1 column of a two-valued feature: the last one in sorted order.

        Sorted, so that {0,1} and {1,0}, {no,yes} and {yes,no} become the same column.
        """
        return max(self.values)


@dataclass(frozen=True)
class Schema:
    """The features of a table, in order.

    Rows are held as *codes*: the number itself, or the position of a nominal value among the declared
    ones; NaN where the value is missing. A denotes the number of attributes, D the number of columns.
    """

    attributes: tuple[Attribute, ...]

    @property
    def n_columns(self) -> int:
        """Number of numeric columns D."""
        return sum(attribute.n_columns for attribute in self.attributes)

    def expand(self, codes_NA: Floats) -> Floats:
        """The numeric columns of coded rows.

        Numbers stay as they are, two-valued features become one 0/1 column, and features with more values
        one 0/1 column for each value.

        Args:
            codes_NA: N×A codes; NaN is a missing value.

        Returns:
            N×D columns; NaN in every column of a missing value.
        """
        x_ND = np.empty((len(codes_NA), self.n_columns))
        start = 0
        for codes_N, attribute in zip(codes_NA.T, self.attributes, strict=True):
            columns = x_ND[:, start : start + attribute.n_columns]
            if not attribute.values:
                columns[:, 0] = codes_N
            elif attribute.one_hot:
                columns[:] = codes_N[:, None] == np.arange(attribute.n_columns)
            else:
                columns[:, 0] = codes_N == attribute.values.index(attribute.high)
            columns[np.isnan(codes_N)] = np.nan
            start += attribute.n_columns
        return x_ND

    def to_tensor(self) -> Tensor:
        """The schema as UTF-8 JSON in a uint8 tensor, because a model's preparation holds tensors only."""
        text = json.dumps([[attribute.name, attribute.values] for attribute in self.attributes])
        return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)

    @classmethod
    def from_tensor(cls, tensor: Tensor) -> "Schema":
        """The schema that `to_tensor` wrote."""
        pairs = json.loads(bytes(tensor.tolist()).decode())
        return cls(tuple(Attribute(name=name, values=tuple(values)) for name, values in pairs))
