"""Everything that is shipped, read from the configs as a stranger would: plain YAML and importlib."""

import importlib
import inspect
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from mlc.backbones.mlp import MLP
from mlc.batch import LabelStatistics
from mlc.heads.base import Head
from mlc.losses.base import Loss, PairingError
from mlc.model import Network

CONFIGS = Path(__file__).parents[2] / "configs"
ROWS, FEATURES, LABELS = 16, 6, 5
HYDRA_KEYS = {"defaults", "_target_", "_partial_"}
RUNTIME_ARGUMENTS = {"in_features", "labels", "input_shape", "params"}


def _targets() -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(1)
    several_BL = (torch.rand(ROWS, LABELS, generator=random) < 0.4).float()
    several_BL[3], several_BL[7] = 0, 1  # a row without labels, and a row with all
    single_BL = torch.nn.functional.one_hot(torch.arange(ROWS) % LABELS, LABELS).float()
    return {"several": several_BL, "single": single_BL}


# The targets a head may meet: a head may read a data set with one label per row in another way.
TARGETS = _targets()


def inputs() -> Tensor:
    """ROWS×FEATURES inputs, the same at every call."""
    return torch.randn(ROWS, FEATURES, generator=torch.Generator().manual_seed(0))


def names(group: str) -> list[str]:
    """The shipped options of a config group."""
    found = sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))
    assert found, f"no configs in {group}"
    return found


def read(group: str, name: str) -> dict[str, Any]:
    """The whole YAML file."""
    content: dict[str, Any] = yaml.safe_load((CONFIGS / group / f"{name}.yaml").read_text())
    return content


def options(group: str, name: str) -> dict[str, Any]:
    """The constructor arguments that the YAML file gives."""
    return {key: value for key, value in read(group, name).items() if key not in HYDRA_KEYS}


def target(group: str, name: str) -> type:
    """The class that the YAML file names."""
    module, _, attribute = read(group, name)["_target_"].rpartition(".")
    found: type = getattr(importlib.import_module(module), attribute)
    return found


def build(group: str, name: str, **runtime: Any) -> Any:
    """The shipped object, given those runtime arguments that its constructor asks for."""
    cls = target(group, name)
    wanted = inspect.signature(cls).parameters
    return cls(**options(group, name), **{key: value for key, value in runtime.items() if key in wanted})


def build_head(name: str, world: str) -> Head:
    """A head for FEATURES features and the labels of TARGETS[world]."""
    labels = LabelStatistics.from_targets(TARGETS[world])
    head: Head = build("head", name, in_features=FEATURES, labels=labels)
    return head


def build_loss(name: str, world: str) -> Loss:
    """A loss for the labels of TARGETS[world]."""
    loss: Loss = build("loss", name, labels=LabelStatistics.from_targets(TARGETS[world]))
    return loss


def default_loss(head: str) -> str:
    """The loss that a head brings by its defaults list."""
    brought = [
        value
        for entry in read("head", head)["defaults"]
        if isinstance(entry, dict)
        for value in entry.values()
    ]
    assert len(brought) == 1, f"{head} brings {brought}"
    return str(brought[0])


def heads_named_by(loss: str) -> set[str]:
    """The heads that the loss's own header says it fits."""
    header = (CONFIGS / "loss" / f"{loss}.yaml").read_text().splitlines()[0]
    return set(re.findall(r"head=(\w+)", header))


def fits(head: str, loss: str, world: str) -> bool:
    """Whether the loss accepts the head's output."""
    try:
        build_loss(loss, world).check(build_head(head, world)(inputs()))
    except PairingError:
        return False
    return True


@dataclass(frozen=True)
class Pair:
    """A head, a loss that fits it, and the kind of targets they are for."""

    head: str
    loss: str
    world: str

    def __str__(self) -> str:
        return f"{self.head}-{self.loss}-{self.world}"

    @property
    def y_BL(self) -> Tensor:  # noqa: N802 - the shape suffix
        """The targets."""
        return TARGETS[self.world]

    def make_loss(self) -> Loss:
        """The loss."""
        return build_loss(self.loss, self.world)

    def make_network(self, width: int = 16, seed: int = 0) -> Network:
        """The head on a small backbone of its own width."""
        torch.manual_seed(seed)
        backbone = MLP(input_shape=(FEATURES,), widths=[width], input_dropout=0.0, dropout=0.0, norm="none")
        labels = LabelStatistics.from_targets(self.y_BL)
        return Network(
            backbone=backbone, head=build("head", self.head, in_features=backbone.out_features, labels=labels)
        )


ALL_PAIRS = [Pair(head, loss, world) for head in names("head") for loss in names("loss") for world in TARGETS]
FITTING_PAIRS = [pair for pair in ALL_PAIRS if fits(pair.head, pair.loss, pair.world)]
UNFITTING_PAIRS = [pair for pair in ALL_PAIRS if pair not in FITTING_PAIRS]
