"""Everything that is shipped, read from the configs as a stranger would: plain YAML and importlib."""

import importlib
import inspect
import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from mlc.backbones.base import Backbone
from mlc.backbones.mlp import MLP
from mlc.batch import LabelStatistics
from mlc.inputs import InputSpec
from mlc.losses.base import Loss, PairingError
from mlc.model import Network
from mlc.outputs.base import LabelOutput

CONFIGS = Path(__file__).parents[2] / "configs"
ROWS, FEATURES, LABELS = 16, 6, 5
HYDRA_KEYS = {"defaults", "_target_", "_partial_"}


def _targets() -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(1)
    several_BL = (torch.rand(ROWS, LABELS, generator=random) < 0.4).float()
    several_BL[3], several_BL[7] = 0, 1  # a row without labels, and a row with all
    single_BL = torch.nn.functional.one_hot(torch.arange(ROWS) % LABELS, LABELS).float()
    return {"several": several_BL, "single": single_BL}


# The targets a head may meet: a head may read a data set with one label per row in another way.
TARGETS = _targets()
# Copies of each label, for heads that read levels.
LEVELS_BL = TARGETS["several"] * (1 + torch.arange(ROWS)[:, None] % 3)


def numbers(*shape: int) -> dict[str, InputSpec]:
    """What a backbone is told of examples that are numbers, or pictures if there are three sides."""
    return {"x": InputSpec("pictures" if len(shape) == 3 else "numbers", shape)}


def inputs() -> Tensor:
    """ROWS×FEATURES inputs, the same at every call."""
    return torch.randn(ROWS, FEATURES, generator=torch.Generator().manual_seed(0))


def names(group: str) -> list[str]:
    """The shipped options of a config group."""
    found = sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))
    assert found, f"no configs in {group}"
    return found


def read(group: str, name: str) -> dict[str, Any]:
    """The whole YAML file, a fresh copy at every call."""
    return deepcopy(_read(group, name))


@cache
def _read(group: str, name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((CONFIGS / group / f"{name}.yaml").read_text(encoding="utf-8"))
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


def targets(world: str) -> Tensor:
    """The targets of a world."""
    return LEVELS_BL if world == "levels" else TARGETS[world]


def statistics(y_BL: Tensor) -> LabelStatistics:
    """All that a head or loss may want to know about these targets."""
    return LabelStatistics.from_targets(y_BL, with_sets=True)


class Positions(Backbone):
    """A small backbone with four positions, for heads that read tokens."""

    def __init__(self, *, width: int):
        super().__init__()
        self.dense = torch.nn.Linear(FEATURES, 4 * width)
        self.feature_sizes = {"tokens": width}

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"tokens": self.dense(inputs["x"]).relu().unflatten(1, (4, -1))}


def small_network(head: str, world: str, *, width: int = 16) -> Network:
    """The head on a small backbone that gives what it reads."""
    backbone: Backbone
    reads = target("head", head).reads  # type: ignore[attr-defined]
    if reads == "tokens":
        backbone = Positions(width=width)
    else:
        backbone = MLP(inputs=numbers(FEATURES), widths=[width], input_dropout=0.0, dropout=0.0, norm="none")
    in_features, labels = backbone.feature_sizes[reads], statistics(targets(world))
    return Network(backbone=backbone, head=build("head", head, in_features=in_features, labels=labels))


def head_output(head: str, world: str) -> LabelOutput:
    """What a head in this world gives for the inputs."""
    torch.manual_seed(0)
    output: LabelOutput = small_network(head, world)({"x": inputs()})
    return output


def build_loss(name: str, world: str) -> Loss:
    """A loss for the labels of a world."""
    loss: Loss = build("loss", name, labels=statistics(targets(world)))
    return loss


def default_loss(head: str) -> str:
    """The loss that a head brings by its defaults list."""
    brought = [
        value
        for entry in read("head", head)["defaults"]
        if isinstance(entry, dict)
        for key, value in entry.items()
        if key.startswith("/loss")
    ]
    assert len(brought) == 1, f"{head} brings {brought}"
    return str(brought[0])


def heads_named_by(loss: str) -> set[str]:
    """The heads that the loss's own header says it fits."""
    header = (CONFIGS / "loss" / f"{loss}.yaml").read_text().splitlines()[0]
    return set(re.findall(r"head=(\w+)", header))


@cache
def fits(head: str, loss: str, world: str) -> bool:
    """Whether the loss accepts the head's output."""
    try:
        build_loss(loss, world).check(head_output(head, world))
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
        return targets(self.world)

    @property
    def other_y_BL(self) -> Tensor:  # noqa: N802 - the shape suffix
        """Other targets: what was there is not, and the other way round."""
        return (self.y_BL == 0).float()

    def make_loss(self) -> Loss:
        """The loss."""
        return build_loss(self.loss, self.world)

    def make_network(self, width: int = 16, seed: int = 0) -> Network:
        """The head on a small backbone of its own width."""
        torch.manual_seed(seed)
        return small_network(self.head, self.world, width=width)


ALL_PAIRS = [Pair(head, loss, world) for head in names("head") for loss in names("loss") for world in TARGETS]
_FITTING = [pair for pair in ALL_PAIRS if fits(pair.head, pair.loss, pair.world)]
UNFITTING_PAIRS = [pair for pair in ALL_PAIRS if pair not in _FITTING]
FITTING_PAIRS = [*_FITTING, Pair("levels", "negative_log_likelihood", "levels")]
