"""A recipe: every choice of a config as something that can be built, checked before any data is read."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, cast

import torch
from annotated_types import Gt, Interval
from torch import Tensor, nn

from mlc.backbones.base import Backbone
from mlc.backbones.join import Join
from mlc.batch import LabelStatistics, presence
from mlc.calibration.base import Calibrator
from mlc.data.augment import Augmentation
from mlc.data.dataset import Dataset, DatasetSource
from mlc.data.text.encoder import TextEncoder
from mlc.decisions.auto import default_for as default_decision
from mlc.decisions.base import Decision
from mlc.eager_optimizer import eager
from mlc.errors import UserError
from mlc.experiment.auxiliary import AuxiliaryMaker, read_auxiliary
from mlc.experiment.instantiate import Maker, check_value, did_you_mean, make
from mlc.experiment.linear_recipe import linear_notes, with_linear_choices
from mlc.experiment.own_files import from_anywhere
from mlc.experiment.pairing import (
    calibration_for,
    check_chunk_head,
    check_fit,
    head_output,
    linked_output,
    made_up_labels,
)
from mlc.experiment.plain import check_plain
from mlc.experiment.shipped import Config, load_shipped
from mlc.heads.base import Head
from mlc.inputs import MAIN, InputSpec
from mlc.losses.base import Loss
from mlc.model import Classifier, Network, feature_size
from mlc.paths import home_path
from mlc.rows import LabelRows
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
_OPTIONAL: dict[str, type] = {"text": TextEncoder, "join": Join, "augmentation": Augmentation}
_FITTED = ("decision", "calibration")  # where left open, they follow from head, loss and data


def group_names() -> list[str]:
    """The config groups that a run is made of."""
    return [*_KINDS, *_OPTIONAL, "auxiliary"]


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
        init_from: folder of the run whose backbone this one starts with, or None.
        notes: sentences on what was chosen in the place of something else.
    """

    config: Config
    makers: Mapping[str, Maker]
    auxiliary: AuxiliaryMaker | None
    source: DatasetSource
    settings: TrainerSettings
    schedule: Schedule
    seed: int
    init_from: Path | None
    notes: tuple[str, ...] = ()

    @property
    def needs_label_sets(self) -> bool:
        """Whether the head must know the different label sets of the training rows."""
        return cast(type[Head], self.makers["head"].target).needs_label_sets

    def data(self, preparation: Mapping[str, Tensor] | None = None) -> Dataset:
        """The data, with levels as targets only where the loss reads levels, and else 0 or 1.

        Training rows that teach nothing (no known label, or weight 0) are left out, so that they are no part
        of a batch either.

        Args:
            preparation: what a run has fitted on its training rows; None fits it on these.

        Raises:
            UserError: the data cannot be read.
        """
        text: TextEncoder | None = self.makers["text"]() if "text" in self.makers else None
        dataset = self.source.load(seed=self.seed, text=text, preparation=preparation)
        counting_N = dataset.train.counting_rows()
        if len(counting_N) < len(dataset.train):
            dataset = replace(dataset, train=dataset.train.rows(counting_N))
        y_NL = dataset.train.y_NL
        if isinstance(y_NL, LabelRows) or not (y_NL > 1).any():
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
        check_fit(self.makers, self.settings, labels, auxiliary=self.auxiliary is not None)
        if self.auxiliary is not None:
            linked_output(self.auxiliary.head, self.auxiliary.loss, labels)

    def without_text(self) -> "Recipe":
        """The recipe for data that have no text: the backbone's choice of a text encoder means nothing."""
        if "text" not in self.makers:
            return self
        config = {**self.config, "text": {}}
        config["choices"] = {**config.get("choices", {}), "text": "none"}
        makers = {group: maker for group, maker in self.makers.items() if group != "text"}
        return replace(self, config=config, makers=makers)

    def augmentation(
        self, inputs: Mapping[str, InputSpec], preparation: Mapping[str, Tensor]
    ) -> Augmentation | None:
        """What changes the inputs of training batches, or None."""
        if "augmentation" not in self.makers:
            return None
        augmentation: Augmentation = self.makers["augmentation"](inputs=inputs, preparation=preparation)
        return augmentation

    def resolved(self, labels: LabelStatistics) -> "Recipe":
        """The recipe with every `auto` replaced by the choice that fits the head on this data."""
        choices = dict(self.config.get("choices", {}))
        config = {**self.config, "choices": choices}
        makers = dict(self.makers)
        notes = list(self.notes)
        for group in _FITTED:
            if group in makers:
                continue
            output = linked_output(makers["head"], makers["loss"], labels)
            if group == "decision":
                choices[group] = default_decision(output)
            else:
                choices[group], why = calibration_for(output, self.settings)
                notes += [why] if why else []
            config[group] = load_shipped(group, choices[group])
            makers[group] = make(config[group], group=group, kind=_KINDS[group])
        return replace(self, config=config, makers=makers, notes=tuple(notes))

    def classifier(
        self,
        *,
        inputs: Mapping[str, InputSpec],
        labels: LabelStatistics,
        auxiliary_labels: LabelStatistics | None = None,
    ) -> Classifier:
        """The untrained classifier; the seed decides its initial weights.

        Args:
            inputs: what the backbone must know about each input.
            labels: training label statistics.
            auxiliary_labels: those of an auxiliary head that has targets of its own.

        Raises:
            UserError: a head reads a feature that the backbone lacks, or an auxiliary head lacks its targets.
        """
        torch.manual_seed(self.seed)
        make_head = self.makers["head"]
        reads = cast(type[Head], make_head.target).reads
        if reads == "tokens" and self._joins(inputs):
            raise UserError(
                "this head reads positions, and the side inputs join after them: set join=none to leave the "
                "side inputs out, or choose another head"
            )
        backbone = self._backbone(inputs)
        head = make_head(in_features=feature_size(backbone, reads, reader="head"), labels=labels)
        auxiliary = None
        if self.auxiliary is not None:
            its_labels = auxiliary_labels if self.auxiliary.own_targets else labels
            if its_labels is None:
                raise UserError(
                    "auxiliary.targets=own needs a data set with auxiliary labels: set "
                    "dataset.auxiliary_labels, or auxiliary.targets=shared"
                )
            auxiliary = self.auxiliary.build(backbone, its_labels)
        return Classifier(
            network=Network(backbone=backbone, head=head, auxiliary=auxiliary),
            loss=self.makers["loss"](labels=labels),
            calibrator=self.makers["calibration"](n_labels=labels.n_labels),
            decision=self.makers["decision"](n_labels=labels.n_labels),
        )

    def _joins(self, inputs: Mapping[str, InputSpec]) -> bool:
        """Whether there are side inputs, and they are to be used."""
        return len(inputs) > 1 and "join" in self.makers

    def _backbone(self, inputs: Mapping[str, InputSpec]) -> Backbone:
        """The backbone of the main input, and what joins it."""
        backbone: Backbone = self.makers["backbone"](inputs=inputs)
        if not self._joins(inputs):
            return backbone
        picture = None
        if "picture" in inputs:
            picture = self.makers["join.picture"](inputs={MAIN: inputs["picture"]})
        joined: Backbone = self.makers["join"](backbone=backbone, inputs=inputs, picture=picture)
        return joined

    def optimizer(self, parameters: Iterable[Any]) -> torch.optim.Optimizer:
        """The optimiser of these parameters."""
        maker = self.makers["optimizer"]
        optimizer: torch.optim.Optimizer = replace(maker, target=eager(maker.target))(params=parameters)
        return optimizer


def read_recipe(config: Config) -> Recipe:
    """Check a config as far as that is possible without data, and make a recipe of it.

    Raises:
        UserError: an unknown key, a value of the wrong type or out of range, or choices that do not fit
            one another; one sentence.
    """
    check_plain(config)
    check_value(dict[str, str], config.get("choices", {}), name="choices")
    for group in _OPTIONAL:
        check_value(dict[str, Any], config.get(group) or {}, name=group)
    given = config.get("choices", {})
    config = with_linear_choices(from_anywhere(config))
    known = [*group_names(), "seed", "init_from", "choices"]
    for key in config:
        if key not in known:
            raise UserError(f"{key} is no part of a config{did_you_mean(str(key), known)}")
    check_value(Seed, config.get("seed"), name="seed")
    makers = {}
    for group, kind in _KINDS.items():
        node = config.get(group)
        if group in _FITTED and node == {"auto": True}:
            continue
        makers[group] = make(node or {}, group=group, kind=kind)
    for group, kind in _OPTIONAL.items():
        if node := config.get(group):
            makers[group] = make({k: v for k, v in node.items() if k != "picture"}, group=group, kind=kind)
    if "join" in makers:
        makers["join.picture"] = make(config["join"].get("picture"), group="join.picture", kind=Backbone)
    recipe = Recipe(
        config=config,
        makers=makers,
        auxiliary=read_auxiliary(config.get("auxiliary")),
        source=makers["dataset"](),
        settings=makers["trainer"](),
        schedule=makers["schedule"](),
        seed=config["seed"],
        init_from=_init_from(config.get("init_from")),
        notes=linear_notes(given, config.get("choices", {})),
    )
    choose_device(recipe.settings.device)
    check_value(Annotated[float, Gt(0)], config["optimizer"].get("lr"), name="optimizer.lr")
    recipe.optimizer([nn.Parameter(torch.zeros(1))])
    _check_pairing(recipe)
    return recipe


def _init_from(value: Any) -> Path | None:
    check_value(str | None, value, name="init_from")
    return None if value is None else home_path(value)


def _check_pairing(recipe: Recipe) -> None:
    """Dry run on made-up label statistics: head, loss, calibrator and rule must fit one another."""
    problems = []
    for single_label in (True, False):
        labels = made_up_labels(recipe.config, single_label=single_label)
        try:
            check_chunk_head(recipe.makers["head"], recipe.settings, labels)
            recipe.resolved(labels).check_fit(labels)
            return
        except UserError as error:
            problems.append(error)
    raise problems[-1]
