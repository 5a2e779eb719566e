"""The configs that come with the project: where they are, what they are called, what they hold."""

from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import yaml

import mlc

Config = dict[str, Any]


def config_folder() -> Path:
    """Where the shipped configs are: inside an installed wheel, or beside the package in a checkout."""
    package = Path(mlc.__file__).parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def shipped(group: str) -> list[str]:
    """Names of the shipped configs of a group."""
    return sorted(path.stem for path in (config_folder() / group).glob("*.yaml"))


def load_shipped(group: str, name: str) -> Config:
    """One shipped config file, without its defaults list."""
    return deepcopy(_read(config_folder() / group / f"{name}.yaml"))


def train_config() -> Config:
    """What stands in train.yaml itself: the seed, and where runs go."""
    return load_shipped("", "train")


@cache
def _read(path: Path) -> Config:
    node: Config = yaml.safe_load(path.read_text(encoding="utf-8"))
    node.pop("defaults", None)
    return node
