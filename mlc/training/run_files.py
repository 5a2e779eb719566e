"""The names of what a run keeps in its folder, and what becomes of a trained classifier on disk."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from torch import Tensor

from mlc.batch import LabelStatistics
from mlc.errors import UserError
from mlc.inputs import InputSpec
from mlc.model import Classifier
from mlc.training.checkpoint import load_checkpoint, save_checkpoint
from mlc.training.facts_check import check_facts


@dataclass(frozen=True)
class RunFiles:
    """Paths inside one run folder."""

    folder: Path

    @property
    def config(self) -> Path:
        """The resolved config."""
        return self.folder / "config.yaml"

    @property
    def log(self) -> Path:
        """What was printed."""
        return self.folder / "train.log"

    @property
    def lock(self) -> Path:
        """Held while a process trains here."""
        return self.folder / ".lock"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.folder / "checkpoints"

    @property
    def profile(self) -> Path:
        """The folder of the profiler's traces."""
        return self.folder / "profile"

    @property
    def preparation(self) -> Path:
        """How inputs are prepared, where another run has fitted it (init_from); written at the start."""
        return self.folder / "preparation.safetensors"

    @property
    def classifier(self) -> Path:
        """The trained and fitted classifier, written when training has ended."""
        return self.folder / "classifier.safetensors"

    @property
    def results(self) -> Path:
        """All metrics."""
        return self.folder / "results.json"

    @property
    def per_label(self) -> Path:
        """The per-label table of the test split."""
        return self.folder / "per_label.csv"

    @property
    def figures(self) -> Path:
        """Pictures of the test split."""
        return self.folder / "figures"


@dataclass(frozen=True)
class Facts:
    """What must be known about the data to build a classifier again without it.

    Args:
        inputs: what the backbone must know about each input.
        label_names: the L labels.
        labels: training label statistics.
        preparation: what new rows are prepared with.
        auxiliary: training label statistics of an auxiliary head that has targets of its own, or None.
    """

    inputs: Mapping[str, InputSpec]
    label_names: tuple[str, ...]
    labels: LabelStatistics
    preparation: Mapping[str, Tensor]
    auxiliary: LabelStatistics | None = None


def save_classifier(path: Path, classifier: Classifier, facts: Facts) -> None:
    """Write the state of every part, and the facts, to one file."""
    tree: dict[str, Any] = {
        "parts": {name: part.state_dict() for name, part in classifier.parts().items()},
        "inputs": {name: asdict(spec) for name, spec in facts.inputs.items()},
        "label_names": facts.label_names,
        "preparation": dict(facts.preparation),
        "labels": _plain(facts.labels),
        "auxiliary": None if facts.auxiliary is None else _plain(facts.auxiliary),
    }
    save_checkpoint(path, tree)


def _plain(labels: LabelStatistics) -> dict[str, Any]:
    return {field.name: getattr(labels, field.name) for field in fields(labels)}


def load_facts(path: Path) -> tuple[Facts, Mapping[str, Mapping[str, Tensor]]]:
    """The facts, and the state of every part, to be loaded into a classifier built from the facts.

    Raises:
        UserError: the file is missing or damaged.
    """
    tree = load_checkpoint(path)
    if "parts" not in tree:
        raise UserError(f"{path} is a checkpoint but no classifier: one file has been put in another's place")
    check_facts(tree, path)
    facts = Facts(
        inputs={
            name: InputSpec(**{**spec, "shape": tuple(spec["shape"])})
            for name, spec in tree["inputs"].items()
        },
        label_names=tuple(tree["label_names"]),
        labels=LabelStatistics(**tree["labels"]),
        preparation=tree["preparation"],
        auxiliary=LabelStatistics(**tree["auxiliary"]) if tree["auxiliary"] else None,
    )
    return facts, tree["parts"]
