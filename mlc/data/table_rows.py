"""The rows of a table as examples: inputs, labels, and what else their columns say."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlc.data.examples import Examples
from mlc.data.label_column import LabelColumn, LabelFlags
from mlc.data.notes import counted
from mlc.data.table_columns import Times, categories, parts, weights
from mlc.data.table_file.base import Chunk, TableFile
from mlc.data.table_input_columns import InputReader
from mlc.data.table_roles import TableRoles, as_columns
from mlc.errors import UserError


class RowReader:
    """Collects the rows of a table, chunk after chunk.

    Args:
        table: the file.
        roles: what its columns are for.
        inputs: what collects the inputs.
        delimiter: of labels in a text; None finds it out.
    """

    def __init__(
        self, table: TableFile, roles: TableRoles, inputs: InputReader, *, delimiter: str | None
    ) -> None:
        others = [roles.split, roles.group, roles.time, roles.weight]
        self._table = table
        self._roles = roles
        self._inputs = inputs
        self._labels = _labels(table, roles.labels, delimiter)
        self._auxiliary = None
        if roles.auxiliary_labels is not None:
            self._auxiliary = _labels(table, roles.auxiliary_labels, delimiter)
        self._n_rows = 0
        self._parts: list[NDArray[Any]] = []
        self._read_times = Times()
        self._times: list[NDArray[Any]] = []
        self._weights: list[NDArray[Any]] = []
        self._groups: list[str] = []
        listed_labels = [*as_columns(roles.labels), *as_columns(roles.auxiliary_labels)]
        self.columns = [*inputs.columns, *listed_labels, *(name for name in others if name is not None)]

    def add(self, chunk: Chunk) -> None:
        """Take a few more rows.

        Raises:
            UserError: a cell is not what its column needs; says where.
        """
        self._n_rows += len(chunk.places)
        self._inputs.add(chunk)
        self._labels.add(chunk)
        if self._auxiliary is not None:
            self._auxiliary.add(chunk)
        if self._roles.split is not None:
            self._parts.append(parts(self._table, self._roles.split, chunk))
        if self._roles.time is not None:
            self._times.append(self._read_times(self._table, self._roles.time, chunk))
        if self._roles.weight is not None:
            self._weights.append(weights(self._table, self._roles.weight, chunk))
        if self._roles.group is not None:
            self._groups += categories(self._table, self._roles.group, chunk)

    def finish(self) -> Examples:
        """All rows.

        Raises:
            UserError: there are none, or no row has a label.
        """
        if not self._n_rows:
            raise UserError(
                f"{self._table.path} names its columns and has no rows; write rows below the header."
            )
        labels = self._labels.finish()
        auxiliary = None if self._auxiliary is None else self._auxiliary.finish()
        notes = [*labels.notes, *(auxiliary.notes if auxiliary else ()), *self._inputs.repairs(imputed=False)]
        notes += self._table.gap_notes()
        return Examples(
            label_names=labels.names,
            y_NL=labels.y_NL,
            **self._inputs.take(keep_pictures=True),
            weight_N=_joined(self._weights),
            weight_name=self._roles.weight or "",
            part_N=_joined(self._parts),
            group_N=self._group_numbers(notes) if self._roles.group is not None else None,
            time_N=_joined(self._times),
            auxiliary_names=auxiliary.names if auxiliary else (),
            auxiliary_NA=auxiliary.dense() if auxiliary else None,
            notes=tuple(notes),
        )

    def _group_numbers(self, notes: list[str]) -> NDArray[np.int64]:
        """A number for each group; a row without a group is one of its own."""
        number_of: dict[str | int, int] = {}
        keys = [group or row for row, group in enumerate(self._groups)]
        group_N = np.array([number_of.setdefault(key, len(number_of)) for key in keys], dtype=np.int64)
        n_alone = self._groups.count("")
        if n_alone:
            rows = counted(n_alone, "row has", "rows have")
            notes.append(f"{rows} no {self._roles.group}; each of them is a group of its own.")
        return group_N


def _labels(
    table: TableFile, given: str | tuple[str, ...], delimiter: str | None
) -> LabelColumn | LabelFlags:
    if isinstance(given, str):
        return LabelColumn(table, given, delimiter=delimiter)
    return LabelFlags(table, given)


def _joined(pieces: Sequence[NDArray[Any]]) -> NDArray[Any] | None:
    return np.concatenate(pieces) if pieces else None
