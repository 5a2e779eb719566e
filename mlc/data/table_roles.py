"""What each column of a table is for."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from mlc.data.notes import counted, listed
from mlc.data.table_file.base import TableFile
from mlc.errors import UserError


@dataclass(frozen=True, kw_only=True)
class TableRoles:
    """The columns by their role, as the user or the file writes them.

    Args:
        text: the column of texts.
        picture: the column of image paths.
        numbers: columns of numbers.
        categories: columns of categories.
        labels: the column that lists labels, or the 0/1 columns.
        auxiliary_labels: the same for an auxiliary head.
        split, group, time, weight: see Table.
    """

    text: str | None
    picture: str | None
    numbers: tuple[str, ...]
    categories: tuple[str, ...]
    labels: str | tuple[str, ...]
    auxiliary_labels: str | tuple[str, ...] | None
    split: str | None
    group: str | None
    time: str | None
    weight: str | None

    @property
    def names_inputs(self) -> bool:
        """Whether any input is named; else all columns without another role are inputs."""
        return bool(self.text or self.picture or self.numbers or self.categories)

    def columns(self) -> list[str]:
        """All columns that have a role."""
        return [name for field in fields(self) for name in as_columns(getattr(self, field.name))]

    def in_file(self, table: TableFile) -> "TableRoles":
        """The same roles with the names as the file has them.

        Raises:
            UserError: a column is not there, or has two roles.
        """
        found: dict[str, Any] = {}
        role_of: dict[str, str] = {}
        for field in fields(self):
            given = getattr(self, field.name)
            names = tuple(table.find(name, option=f"dataset.{field.name}") for name in as_columns(given))
            for name in names:
                if name in role_of:
                    raise UserError(
                        f"{table.path}: the column {name} is named by dataset.{role_of[name]} and by "
                        f"dataset.{field.name}; each column has one role."
                    )
                role_of[name] = field.name
            found[field.name] = names[0] if isinstance(given, str) else None if given is None else names
        return replace(self, **found)

    def free(self, table: TableFile) -> list[str]:
        """The columns of the file without a role."""
        return sorted(set(table.names) - set(self.columns()), key=table.names.index)

    def unused_note(self, table: TableFile) -> list[str]:
        """A sentence on the columns that are not used, if there are any."""
        free = self.free(table)
        unused = counted(len(free), "column is", "columns are")
        return [f"{unused} not used: {listed(free)}."] if free else []


def as_columns(given: str | Sequence[str] | None) -> tuple[str, ...]:
    """One column, several or none as a tuple."""
    return () if given is None else (given,) if isinstance(given, str) else tuple(given)
