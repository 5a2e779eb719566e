"""The shipped configs put together as Hydra would, by plain YAML."""

from copy import deepcopy
from typing import Any

import torch
import yaml

from mlc.batch import LabelStatistics
from tests.contract.grid import CONFIGS, read, target

GROUPS = ["dataset", "backbone", "head", "loss", "decision", "calibration"]
GROUPS += ["optimizer", "schedule", "trainer"]
OPTIONAL = ["text", "join", "augmentation", "auxiliary"]  # which may be empty
EVERY_GROUP = [*GROUPS, *OPTIONAL]


def node(group: str, name: str) -> dict[str, Any]:
    """One shipped config, without its defaults list."""
    return {key: value for key, value in read(group, name).items() if key != "defaults"}


def brought(group: str, name: str) -> dict[str, str]:
    """What a head, dataset or backbone brings by its defaults list, such as {"loss": "focal"}."""
    entries = [entry for entry in read(group, name).get("defaults", []) if isinstance(entry, dict)]
    return {
        key.removeprefix("override ").strip("/").partition("@")[0]: value
        for entry in entries
        for key, value in entry.items()
    }


def choices(**chosen: str) -> dict[str, str]:
    """The option of every group, where some are chosen."""
    train = yaml.safe_load((CONFIGS / "train.yaml").read_text())
    first = {
        key: value
        for entry in train["defaults"]
        if isinstance(entry, dict)
        for key, value in entry.items()
        if key in EVERY_GROUP
    } | chosen
    second = brought("dataset", first["dataset"]) | brought("head", first["head"])
    both = second | first
    return brought("backbone", both["backbone"]) | both


def config(seed: int = 0, **chosen: str) -> dict[str, Any]:
    """A whole config, a fresh copy at every call."""
    names = choices(**chosen)
    return deepcopy(
        {
            "choices": names,
            "seed": seed,
            "init_from": None,
            **{group: node(group, names[group]) for group in EVERY_GROUP},
        }
    )


def fitting_backbone(head: str, otherwise: str) -> tuple[str, tuple[int, ...]]:
    """A backbone that gives what the head reads, and the shape of its inputs."""
    if target("head", head).reads == "tokens":  # type: ignore[attr-defined]
        return "cnn", (1, 8, 8)
    return otherwise, (3,)


def labels(single_label: bool = False) -> LabelStatistics:
    """Statistics of ten training rows with five labels; some have none and the last is in no row."""
    if single_label:
        return LabelStatistics.from_targets(torch.eye(5).repeat(2, 1), with_sets=True)
    y_NL = (torch.rand(10, 5, generator=torch.Generator().manual_seed(0)) < 0.4).float()
    y_NL[0], y_NL[:, 4] = 0, 0
    return LabelStatistics.from_targets(y_NL, with_sets=True)
