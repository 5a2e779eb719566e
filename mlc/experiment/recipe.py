"""A recipe: every choice of a config as something that can be built, checked before any data is read."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, cast

import torch
from annotated_types import Gt, Interval
from torch import nn

from mlc.backbones.base import Backbone
from mlc.batch import LabelStatistics, presence
from mlc.calibration.auto import default_for as default_calibration
from mlc.calibration.base import Calibrator
from mlc.data.dataset import Dataset, DatasetSource
from mlc.decisions.auto import default_for as default_decision
from mlc.decisions.base import Decision
from mlc.errors import UserError
from mlc.experiment.instantiate import Maker, check_value, did_you_mean, make
from mlc.experiment.pairing import check_fit, head_output, linked_output, made_up_labels
from mlc.experiment.shipped import Config, load_shipped
from mlc.heads.base import Head
from mlc.losses.base import Loss
from mlc.model import Auxiliary, Classifier, Network, feature_size
from mlc.training.schedules import Schedule
from mlc.training.settings import TrainerSettings, choose_device

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
_AUXILIARY_KEYS = ("feature", "weight", "head", "loss")


def group_names() -> list[str]:
    """The config groups that a run is made of."""
    return [*_KINDS, "auxiliary"]


@dataclass(frozen=True)
class AuxiliaryMaker:
    """The config of an auxiliary head, checked.

    Args:
        feature: the backbone's feature that it reads.
        weight: of its loss.
        head, loss: what it is made of.
    """

    feature: str
    weight: float
    head: Maker
    loss: Maker

    def build(self, backbone: Backbone, labels: LabelStatistics) -> Auxiliary:
        """The auxiliary head on this backbone.

        Raises:
            UserError: the backbone lacks the feature.
        """
        size = feature_size(backbone, self.feature, reader="auxiliary")
        head = self.head(in_features=size, labels=labels)
        return Auxiliary(feature=self.feature, head=head, loss=self.loss(labels=labels), weight=self.weight)


@dataclass(frozen=True)
class Recipe:
    """The choices of one run.

    Args:
        config: the config; `decision` and `calibration` may still be `{auto: true}`.
        makers: per group, what builds its object from run-time arguments.
        auxiliary: what builds the auxiliary head, or None.
        source: the data set, not yet loaded.
        settings: the trainer's settings.
        schedule: the learning-rate schedule.
        seed: the seed of everything.
    """

    config: Config
    makers: Mapping[str, Maker]
    auxiliary: AuxiliaryMaker | None
    source: DatasetSource
    settings: TrainerSettings
    schedule: Schedule
    seed: int

    @property
    def needs_label_sets(self) -> bool:
        """Whether the head must know the different label sets of the training rows."""
        return cast(type[Head], self.makers["head"].target).needs_label_sets

    def data(self) -> Dataset:
        """The data, with levels as targets only where the loss reads levels, and else 0 or 1.

        Training rows that teach nothing (no known label, or weight 0) are left out, so that they are no part
        of a batch either.

        Raises:
            UserError: the data cannot be read.
        """
        dataset = self.source.load(seed=self.seed)
        counting_N = dataset.train.counting_rows()
        if len(counting_N) < len(dataset.train):
            dataset = replace(dataset, train=dataset.train.rows(counting_N))
        if not (dataset.train.y_NL > 1).any():
            return dataset
        labels = self.statistics(dataset)
        if self.reads_levels(labels):
            return dataset
        note = f"Targets have {labels.levels} levels; this loss reads them as there (above 0) or not."
        return replace(dataset.with_targets(presence), notes=(*dataset.notes, note))

    def reads_levels(self, labels: LabelStatistics) -> bool:
        """Whether the loss is about levels, and not only about which labels are there."""
        loss: Loss = self.makers["loss"](labels=labels)
        return loss.reads_levels(head_output(self.makers["head"], labels))

    def statistics(self, dataset: Dataset) -> LabelStatistics:
        """What head and loss may know about the training targets."""
        y_NL, weight_N = dataset.train.y_NL, dataset.train.weight_N
        return LabelStatistics.from_targets(y_NL, weight_N, with_sets=self.needs_label_sets)

    def check_fit(self, labels: LabelStatistics) -> None:
        """Check that all parts fit one another, given the label statistics.

        Raises:
            UserError: one sentence that names what fits.
        """
        check_fit(self.makers, self.settings, labels)
        if self.auxiliary is not None:
            linked_output(self.auxiliary.head, self.auxiliary.loss, labels)

    def resolved(self, labels: LabelStatistics) -> "Recipe":
        """The recipe with every `auto` replaced by the choice that fits the head on this data."""
        choices = dict(self.config.get("choices", {}))
        config = {**self.config, "choices": choices}
        makers = dict(self.makers)
        for group, default_for in _FITTED.items():
            if group not in makers:
                choices[group] = default_for(linked_output(makers["head"], makers["loss"], labels))
                config[group] = load_shipped(group, choices[group])
                makers[group] = make(config[group], group=group, kind=_KINDS[group])
        return replace(self, config=config, makers=makers)

    def classifier(self, *, input_shape: tuple[int, ...], labels: LabelStatistics) -> Classifier:
        """The untrained classifier; the seed decides its initial weights.

        Raises:
            UserError: a head reads a feature that the backbone lacks.
        """
        torch.manual_seed(self.seed)
        backbone: Backbone = self.makers["backbone"](input_shape=input_shape)
        make_head = self.makers["head"]
        reads = cast(type[Head], make_head.target).reads
        head = make_head(in_features=feature_size(backbone, reads, reader="head"), labels=labels)
        auxiliary = self.auxiliary.build(backbone, labels) if self.auxiliary else None
        return Classifier(
            network=Network(backbone=backbone, head=head, auxiliary=auxiliary),
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
    known = [*group_names(), "seed", "choices"]
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
        auxiliary=_read_auxiliary(config.get("auxiliary")),
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


def _read_auxiliary(node: Any) -> AuxiliaryMaker | None:
    """The auxiliary head of a config; None where there is none."""
    if not node:
        return None
    check_value(dict[str, Any], node, name="auxiliary")
    for key in (*node, *_AUXILIARY_KEYS):
        if key not in _AUXILIARY_KEYS:
            raise UserError(f"auxiliary.{key} is no option{did_you_mean(str(key), list(_AUXILIARY_KEYS))}")
        if key not in node:
            raise UserError(f"auxiliary.{key} is missing; it has {', '.join(_AUXILIARY_KEYS)}")
    check_value(str, node["feature"], name="auxiliary.feature")
    check_value(Annotated[float, Gt(0)], node["weight"], name="auxiliary.weight")
    return AuxiliaryMaker(
        feature=node["feature"],
        weight=node["weight"],
        head=make(node["head"], group="auxiliary.head", kind=Head),
        loss=make(node["loss"], group="auxiliary.loss", kind=Loss),
    )


def _check_pairing(recipe: Recipe) -> None:
    """Dry run on made-up label statistics: head, loss, calibrator and rule must fit one another."""
    problems = []
    for single_label in (True, False):
        labels = made_up_labels(recipe.config, single_label=single_label)
        try:
            recipe.resolved(labels).check_fit(labels)
            return
        except UserError as error:
            problems.append(error)
    raise problems[-1]
