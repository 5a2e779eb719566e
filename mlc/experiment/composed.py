"""From what Hydra has composed to plain values, with references to other keys resolved and nothing else."""

import re
from collections.abc import Iterator
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from mlc.errors import UserError
from mlc.experiment.shipped import Config
from mlc.experiment.shown import shown

# References multiply what they refer to; with so few a config stays of its size.
MOST_REFERENCES = 10
_OPENING = re.compile(r"(?<!\\)(?:\\\\)*\$\{")
_REFERENCE = re.compile(r"(?<!\\)(?:\\\\)*\$\{[\w.\[\]]+\}")


def plain_values(config: DictConfig) -> Config:
    """The config as dicts, lists, numbers and texts.

    A value may refer to another key of the config, as in ${seed}. Resolvers, as in ${oc.env:HOME}, are
    refused: they carry what is outside of the config, such as passwords of the environment, into a run
    folder.

    Raises:
        UserError: naming the key; or OmegaConf's own error, for a reference to a key that is not there.
    """
    references = 0
    for place, text in _texts(OmegaConf.to_container(config, resolve=False), ""):
        found = len(_OPENING.findall(text))
        references += found
        if found != len(_REFERENCE.findall(text)):
            raise UserError(
                f"{place}={shown(text)} is refused: a config may refer to its own keys, as in ${{seed}}, and "
                f"to nothing else; write the value out"
            )
        if references > MOST_REFERENCES:
            raise UserError(
                f"{place}={shown(text)} is refused: a config may have {MOST_REFERENCES} references, and has "
                f"more; write the values out"
            )
    return cast(Config, OmegaConf.to_container(config, resolve=True, throw_on_missing=True))


def _texts(value: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, f"{place}.{key}".lstrip("."))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _texts(item, f"{place}[{i}]")
