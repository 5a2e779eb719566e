"""A recipe: every choice of a config as something that can be built, checked before any data is read."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import yaml
from annotated_types import Gt, Interval
from torch import nn

import mlc
from mlc.backbones.base import Backbone
from mlc.batch import LabelStatistics
from mlc.calibration.auto import default_for as default_calibration
from mlc.calibration.base import Calibrator
from mlc.data.dataset import DatasetSource
from mlc.decisions.auto import default_for as default_decision
from mlc.decisions.base import Decision
from mlc.errors import UserError
from mlc.experiment.instantiate import check_value, did_you_mean, make
from mlc.heads.base import Head
from mlc.losses.base import Loss, PairingError
from mlc.model import Classifier, Network
from mlc.outputs.base import LabelOutput, NotDefinedError
from mlc.training.schedules import Schedule
from mlc.training.settings import TrainerSettings, choose_device

Config = dict[str, Any]
Seed = Annotated[int, Interval(ge=0, lt=2**32)]  # what torch, NumPy and scikit-learn all take

_KINDS: dict[str, type] = {
    "dataset": DatasetSource,
    "backbone": Backbone,
    "head": Head,
    "loss": Loss,
    "decision": Decision,
    "calibration": Calibrator,
    "optimizer": torch.optim.Optimizer,
    "schedule": Schedule,
    "trainer": TrainerSettings,
}
_FITTED = {"decision": default_decision, "calibration": default_calibration}


def group_names() -> list[str]:
    """The config groups that a run is made of."""
    return list(_KINDS)


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
    node: Config = yaml.safe_load((config_folder() / group / f"{name}.yaml").read_text(encoding="utf-8"))
    node.pop("defaults", None)
    return node


@dataclass(frozen=True)
class Recipe:
    """The choices of one run.

    Args:
        config: the config; `decision` and `calibration` may still be `{auto: true}`.
        makers: per group, a callable that builds its object from run-time arguments.
        source: the data set, not yet loaded.
        settings: the trainer's settings.
        schedule: the learning-rate schedule.
        seed: the seed of everything.
    """

    config: Config
    makers: Mapping[str, Callable[..., Any]]
    source: DatasetSource
    settings: TrainerSettings
    schedule: Schedule
    seed: int

    def resolved(self, labels: LabelStatistics) -> "Recipe":
        """The recipe with every `auto` replaced by the choice that fits the head on this data."""
        choices = dict(self.config.get("choices", {}))
        config = {**self.config, "choices": choices}
        makers = dict(self.makers)
        for group, default_for in _FITTED.items():
            if group not in makers:
                choices[group] = default_for(linked_output(self, labels))
                config[group] = load_shipped(group, choices[group])
                makers[group] = make(config[group], group=group, kind=_KINDS[group])
        return Recipe(config, makers, self.source, self.settings, self.schedule, self.seed)

    def classifier(self, *, input_shape: tuple[int, ...], labels: LabelStatistics) -> Classifier:
        """The untrained classifier; the seed decides its initial weights."""
        torch.manual_seed(self.seed)
        backbone = self.makers["backbone"](input_shape=input_shape)
        head = self.makers["head"](in_features=backbone.out_features, labels=labels)
        return Classifier(
            network=Network(backbone=backbone, head=head),
            loss=self.makers["loss"](labels=labels),
            calibrator=self.makers["calibration"](n_labels=labels.n_labels),
            decision=self.makers["decision"](n_labels=labels.n_labels),
        )

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser of these parameters."""
        optimizer: torch.optim.Optimizer = self.makers["optimizer"](params=parameters)
        return optimizer


def read_recipe(config: Config) -> Recipe:
    """Check a config as far as that is possible without data, and make a recipe of it.

    Raises:
        UserError: an unknown key, a value of the wrong type or out of range, or choices that do not fit
            one another; one sentence.
    """
    known = [*_KINDS, "seed", "choices"]
    for key in config:
        if key not in known:
            raise UserError(f"{key} is no part of a config{did_you_mean(str(key), known)}")
    check_value(dict[str, str], config.get("choices", {}), name="choices")
    check_value(Seed, config.get("seed"), name="seed")
    makers = {}
    for group, kind in _KINDS.items():
        node = config.get(group)
        if group in _FITTED and node == {"auto": True}:
            continue
        makers[group] = make(node or {}, group=group, kind=kind)
    recipe = Recipe(
        config=config,
        makers=makers,
        source=makers["dataset"](),
        settings=makers["trainer"](),
        schedule=makers["schedule"](),
        seed=config["seed"],
    )
    choose_device(recipe.settings.device)
    check_value(Annotated[float, Gt(0)], config["optimizer"].get("lr"), name="optimizer.lr")
    recipe.optimizer([nn.Parameter(torch.zeros(1))])
    _check_pairing(recipe)
    return recipe


def _check_pairing(recipe: Recipe) -> None:
    """Dry run on made-up label statistics: head, loss, calibrator and rule must fit one another."""
    problems = []
    for single_label in (True, False):
        labels = _made_up_labels(recipe.config, single_label=single_label)
        try:
            check_fit(recipe.resolved(labels), labels)
            return
        except UserError as error:
            problems.append(error)
    raise problems[-1]


def _made_up_labels(config: Config, *, single_label: bool) -> LabelStatistics:
    # A list in the loss's options has one number per label. Else many labels, so that top_k with any
    # sensible k passes here; its k is checked again with the real L.
    n_labels = next((len(value) for value in config["loss"].values() if isinstance(value, list)), 1000)
    rows = n_labels if single_label else max(n_labels // 2, 1)
    return LabelStatistics(
        positives_L=torch.ones(n_labels, dtype=torch.float64),
        rows=rows,
        single_label=single_label,
        count_histogram_K=torch.tensor([0, rows] if single_label else [0, 0, rows], dtype=torch.float64),
    )


def linked_output(recipe: Recipe, labels: LabelStatistics) -> LabelOutput:
    """What head and loss give for one example of zeros.

    Raises:
        PairingError: naming the losses that fit the head.
    """
    with torch.random.fork_rng(devices=[]):
        output = recipe.makers["head"](in_features=1, labels=labels)(torch.zeros(1, 1))
        loss = recipe.makers["loss"](labels=labels)
    try:
        loss.check(output)
    except PairingError as error:
        fitting = ", ".join(f"loss={name}" for name in losses_for(output, labels))
        raise PairingError(f"this loss does not fit this head: {error}; what fits is {fitting}") from None
    linked: LabelOutput = loss.link(output.detach())
    return linked


def losses_for(output: LabelOutput, labels: LabelStatistics) -> list[str]:
    """Names of the shipped losses that can train such an output."""
    fitting = []
    for name in shipped("loss"):
        loss = make(load_shipped("loss", name), group="loss", kind=Loss)(labels=labels)
        try:
            loss.check(output)
        except PairingError:
            continue
        fitting.append(name)
    return fitting


def check_fit(recipe: Recipe, labels: LabelStatistics) -> None:
    """Check that head, loss, calibrator and decision rule fit, given the label statistics.

    Raises:
        UserError: one sentence that names what fits.
    """
    output = linked_output(recipe, labels)
    _check_monitor(recipe.settings, output)
    if "calibration" in recipe.makers:
        calibrator = recipe.makers["calibration"](n_labels=labels.n_labels)
        calibrator.check(output)
        if "decision" in recipe.makers:
            recipe.makers["decision"](n_labels=labels.n_labels).check(calibrator(output))


def _check_monitor(settings: TrainerSettings, output: LabelOutput) -> None:
    """Of all metrics only `nll` depends on the head: the others come from decisions and calibrated scores."""
    if settings.monitor != "nll":
        return
    try:
        output.log_prob(torch.zeros_like(output.scores()))
    except NotDefinedError as error:
        raise UserError(
            f"trainer.monitor=nll is not defined for {type(output).__name__}, which has no probability of a "
            f"label set: choose another metric, for example trainer.monitor=loss"
        ) from error
