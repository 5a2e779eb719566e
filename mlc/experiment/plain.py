"""A config as data: what may stand in it at all, before anything in it is looked at.

A config may come from a stranger's run folder. It is a tree of plain values of a bounded size; the keys with
which Hydra's `instantiate` calls functions mean nothing here, and are refused rather than passed over.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from mlc.errors import UserError
from mlc.experiment.shown import shown

MOST_VALUES, DEEPEST = 200_000, 32
LARGEST = 2**63 - 1  # what torch and NumPy count with
_CALLS = ("_args_", "_recursive_", "_convert_")


def check_plain(config: Any) -> None:
    """Check that a config is a mapping of plain values.

    Raises:
        UserError: naming the place.
    """
    if not isinstance(config, Mapping):
        raise UserError(f"a config is a mapping from groups to their options, and this is {shown(config)}")
    for count, (place, key, value) in enumerate(_walk(config, "", 0)):
        if count == MOST_VALUES:
            raise UserError(f"this config is refused: it has more than {MOST_VALUES} values")
        if key in _CALLS:
            raise UserError(f"{place} is refused: a config names classes and options, and calls nothing")
        if key == "_target_" and not isinstance(value, str):
            raise UserError(f"{place}={shown(value)} is refused: it must be the name of a class")
        if key == "_partial_" and value is not True:
            raise UserError(f"{place}={shown(value)} is refused: leave it out")
        if isinstance(value, int) and abs(value) > LARGEST:
            raise UserError(f"{place}={shown(value)} is not allowed: no number here has more than 64 bits")


def _walk(value: Any, place: str, depth: int) -> Iterator[tuple[str, Any, Any]]:
    """Every value below this one with its place and its key."""
    if depth == DEEPEST:
        raise UserError(f"{shown(place)} is refused: it is nested more than {DEEPEST} levels deep")
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise UserError(f"{place or 'a config'} has the key {shown(key)}: keys are names")
            here = f"{place}.{shown(key)}".lstrip(".")
            yield here, key, item
            yield from _walk(item, here, depth + 1)
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            here = f"{place}[{i}]"
            yield here, None, item
            yield from _walk(item, here, depth + 1)
