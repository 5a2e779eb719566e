"""What a run takes from the one that `init_from=` names: how inputs are prepared, and the backbone's weights.

The preparation is kept in the new run's own folder, so that it can be resumed when the other run is gone.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from mlc.backbones.base import Backbone
from mlc.data.notes import listed
from mlc.data.schema import Schema
from mlc.data.table import Table
from mlc.data.table_file.opening import open_table
from mlc.errors import UserError
from mlc.experiment.recipe import Recipe
from mlc.experiment.shipped import Config, load_shipped, shipped
from mlc.experiment.stored import check_stored
from mlc.inputs import InputSpec
from mlc.paths import home_path
from mlc.training.checkpoint import load_checkpoint, save_checkpoint
from mlc.training.run_files import RunFiles


def keep_preparation(folder: Path, preparation: Mapping[str, Tensor]) -> None:
    """Keep in a run's folder how its inputs are prepared."""
    save_checkpoint(RunFiles(folder).preparation, {"preparation": dict(preparation)})


def kept_preparation(folder: Path) -> Mapping[str, Tensor] | None:
    """What `keep_preparation` kept; None where it is not there.

    Raises:
        UserError: the file is damaged, or not what a run writes.
    """
    path = RunFiles(folder).preparation
    if not path.is_file():
        return None
    found = load_checkpoint(path).get("preparation")
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise UserError(
            f"{path} is refused: it is not what a run writes; remove it to read the run anew that "
            f"init_from names"
        )
    check_stored(found, path)
    return found


def check_columns(recipe: Recipe, preparation: Mapping[str, Tensor]) -> list[str]:
    """Hold a table against the columns that the other run was trained on, before it is read.

    Args:
        recipe: of the new run.
        preparation: of the other run.

    Returns:
        Notes on the columns that are read because the other run reads them.

    Raises:
        UserError: the table lacks one of them, or the user has named others.
    """
    source = recipe.source
    if not isinstance(source, Table) or source.path is None:
        return []
    schema = Schema.from_tensor(preparation["schema"]) if "schema" in preparation else Schema(())
    columns = [attribute.name for attribute in schema.attributes]
    has = {
        "text": any(key.startswith("text.") for key in preparation),
        "picture": "picture.shape" in preparation,
    }
    for role, its in has.items():
        own = getattr(source.roles, role)
        if its != (own is not None):
            problem = (
                f"reads a {role}: name its column in dataset.{role}"
                if its
                else (f"reads no {role}: leave dataset.{role} away")
            )
            raise UserError(f"init_from={recipe.init_from} {problem}")
    table = open_table(home_path(source.path))
    roles = source.roles.in_file(table)
    missing = [name for name in columns if name not in table.names]
    if missing:
        raise UserError(
            f"{table.path} has no column {listed(missing)}, which init_from={recipe.init_from} reads: give "
            f"columns the names that they have there, or leave init_from away"
        )
    named = (*roles.numbers, *roles.categories)
    if roles.names_inputs and set(named) != set(columns):
        raise UserError(
            f"init_from={recipe.init_from} reads {_columns(columns)} as numbers and categories, and this run "
            f"names {_columns(named)}: {_naming(schema)}"
        )
    if not columns or named:
        return []
    left = [name for name in roles.free(table) if name not in columns]
    notes = [f"The inputs are those of {recipe.init_from}: {_columns(columns)}."]
    return [*notes, f"Not used, because it does not read them: {_columns(left)}."] if left else notes


def _columns(names: Sequence[str]) -> str:
    if not names:
        return "no column"
    return f"the column{'s' if len(names) > 1 else ''} {listed(names)}"


def _naming(schema: Schema) -> str:
    """What to do so that a run names the columns of a schema."""
    kinds = {
        "numbers": [attribute.name for attribute in schema.attributes if not attribute.values],
        "categories": [attribute.name for attribute in schema.attributes if attribute.values],
    }
    words = [f"dataset.{kind}=[{','.join(map(_item, names))}]" for kind, names in kinds.items() if names]
    return f"give {' '.join(words)}" if words else "leave dataset.numbers and dataset.categories away"


def _item(name: str) -> str:
    return f"'{name}'" if set(name) & set(',[]"') else name


def take_backbone(
    backbone: Backbone,
    other: Backbone,
    *,
    recipe: Recipe,
    its: Recipe,
    inputs: tuple[Mapping[str, InputSpec], ...],
) -> None:
    """Give a new backbone the weights of another run's.

    Args:
        backbone: new; changed in place.
        other: trained.
        recipe, its: the recipes of the two runs.
        inputs: what the two backbones are told of their inputs.

    Raises:
        UserError: they are built otherwise; says what would make them alike.
    """
    try:
        backbone.load_state_dict(other.state_dict())
    except RuntimeError:
        raise UserError(
            f"init_from={recipe.init_from} has another backbone: {_cure(recipe.config, its.config, inputs)}"
        ) from None


def _cure(own: Config, other: Config, inputs: tuple[Mapping[str, InputSpec], ...]) -> str:
    words = [
        word
        for group in ("backbone", "join")
        if own.get(group) != other.get(group)
        for word in _words(group, own, other)
    ]
    if words:
        return f"give this run {' '.join(words)}, as it has"
    here, there = (
        ", ".join(f"{spec.kind} of shape {spec.shape}" for spec in specs.values()) for specs in inputs
    )
    return f"it reads {there}, and this run {here}; give this run the same inputs"


def _words(group: str, own: Config, other: Config) -> list[str]:
    """The words that make a run's choice in a group that of the other."""
    name, node = other.get("choices", {}).get(group), other.get(group) or {}
    usual = own.get(group) or {}
    if name != own.get("choices", {}).get(group):
        usual = load_shipped(group, name) if name in shipped(group) else {}
    changed = {key: value for key, value in node.items() if key not in usual or value != usual[key]}
    return [f"{group}={name}", *(f"{group}.{key}={_value(value)}" for key, value in changed.items())]


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
