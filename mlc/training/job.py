"""A job: one run with everything it needs, built from its config."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mlc.data.augment import Augmentation
from mlc.data.dataset import Dataset
from mlc.model import Classifier
from mlc.training.parameter_groups import MakeOptimizer
from mlc.training.run_files import Facts
from mlc.training.schedules import Schedule
from mlc.training.settings import TrainerSettings


@dataclass(frozen=True)
class Job:
    """Everything a run needs.

    Args:
        folder: where it keeps what it makes.
        config: the resolved config, plain values only.
        dataset: loaded data, on the CPU.
        facts: what a classifier needs to be built again without the data.
        classifier: untrained, on the CPU.
        make_optimizer: from parameters, or groups of them, to the optimiser.
        schedule: the learning-rate schedule.
        augment: changes the inputs of training batches, or None.
        settings: the trainer's settings, with the precision decided.
        device: where to train.
        seed: the seed of everything.
        notes: sentences about the data and the choices, for the log and the results.
    """

    folder: Path
    config: Mapping[str, Any]
    dataset: Dataset
    facts: Facts
    classifier: Classifier
    make_optimizer: MakeOptimizer
    schedule: Schedule
    augment: Augmentation | None
    settings: TrainerSettings
    device: str
    seed: int
    notes: tuple[str, ...]


def config_yaml(config: Mapping[str, Any]) -> str:
    """A config as YAML text."""
    text: str = yaml.dump(dict(config), Dumper=_NoAliases, sort_keys=False, allow_unicode=True)
    return text


class _NoAliases(yaml.SafeDumper):
    """Writes a value that stands twice twice: no reader of ours follows aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        """Never refer back."""
        return True
