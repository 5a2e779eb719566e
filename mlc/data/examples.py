"""Rows as their files have them: before anything is split, fitted or scaled."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mlc.data.picture_rows import PictureRows
from mlc.data.schema import Floats, Schema
from mlc.rows import SparseRows, Targets, take_targets

OPEN, TRAIN, VALID, TEST = -1, 0, 1, 2
PART_NAMES = ("train", "valid", "test")


@dataclass(frozen=True)
class Codes:
    """Numeric and nominal features; see Schema.

    Args:
        schema: what the A attributes are.
        codes_NA: float64 codes; NaN where a value is missing.
        most: None where a nominal feature has the values that its file declares. Else they are those that
            occur in any row; a model then knows so many at most, the most frequent ones of its training rows.
    """

    schema: Schema
    codes_NA: Floats
    most: int | None = None


@dataclass(frozen=True, kw_only=True)
class Examples:
    """N rows of a data set. At least one of `codes`, `text`, `pictures` and `sparse` is there.

    Args:
        label_names: the L labels.
        y_NL: float32 targets, 0 or 1, NaN where unknown; or LabelRows.
        codes: numeric and nominal features.
        text: one text per row.
        pictures: one picture per row.
        sparse: sparse numbers.
        weight_N: weights of the rows, finite and 0 or more.
        weight_name: what the weights are called, for messages.
        part_N: the split that the data brings: TRAIN, VALID, TEST or OPEN; None where all rows are OPEN.
        group_N: rows with the same number stay in one split.
        time_N: later rows are tested on.
        auxiliary_names: the labels of an auxiliary head that has targets of its own.
        auxiliary_NA: its float32 targets, NaN where unknown.
        notes: sentences that say what was dropped, repaired or assumed while reading.
    """

    label_names: tuple[str, ...]
    y_NL: Targets
    codes: Codes | None = None
    text: Sequence[str] | None = None
    pictures: PictureRows | None = None
    sparse: SparseRows | None = None
    weight_N: Floats | None = None
    weight_name: str = ""
    part_N: NDArray[np.int8] | None = None
    group_N: NDArray[np.int64] | None = None
    time_N: NDArray[np.float64] | None = None
    auxiliary_names: tuple[str, ...] = ()
    auxiliary_NA: Tensor | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.y_NL)

    def rows(self, rows: Tensor) -> "Examples":
        """The examples at `rows` (int64 indices), without what only splitting needs; views where possible."""
        places = rows.numpy()
        return replace(
            self,
            y_NL=take_targets(self.y_NL, rows),
            codes=self.codes and replace(self.codes, codes_NA=self.codes.codes_NA[places]),
            text=None if self.text is None else [self.text[place] for place in places],
            pictures=None if self.pictures is None else self.pictures.view(rows),
            sparse=None if self.sparse is None else self.sparse.view(rows),
            weight_N=None if self.weight_N is None else self.weight_N[places],
            auxiliary_NA=None if self.auxiliary_NA is None else self.auxiliary_NA[rows],
            part_N=None,
            group_N=None,
            time_N=None,
        )
