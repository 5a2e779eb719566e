"""From a recipe to a job, and from a run folder back to its recipe and classifier."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mlc.backbones.base import Backbone, PretrainedBackbone
from mlc.batch import LabelStatistics
from mlc.data.dataset import Dataset
from mlc.errors import UserError
from mlc.experiment.combinations import check_combinations, combination_notes
from mlc.experiment.init_from import check_columns, keep_preparation, kept_preparation, take_backbone
from mlc.experiment.instantiate import check_value, did_you_mean
from mlc.experiment.recipe import Recipe, read_recipe
from mlc.experiment.run_folder import check_run_folder
from mlc.experiment.safe_yaml import read_yaml
from mlc.experiment.shipped import Config, load_shipped, shipped
from mlc.experiment.stored import check_stored, no_larger_than
from mlc.inputs import MAIN
from mlc.model import Classifier
from mlc.training import processes
from mlc.training.job import Job
from mlc.training.label_chunk_check import auto_chunk
from mlc.training.order import epoch_order
from mlc.training.precision import choose_precision
from mlc.training.run_files import Facts, RunFiles, load_facts
from mlc.training.settings import TrainerSettings, choose_device


def make_job(recipe: Recipe, folder: Path, *, fresh: bool) -> Job:
    """Load the data and build everything a run needs.

    Args:
        recipe: its choices.
        folder: of the run.
        fresh: whether the run is new; a resumed one takes its weights from its checkpoint.

    Raises:
        UserError: the data cannot be read, or a choice does not fit it.
    """
    kept = kept_preparation(folder) if recipe.init_from and not fresh else None
    source = read_trained_run(recipe.init_from) if recipe.init_from and kept is None else None
    preparation = source.facts.preparation if source else kept
    columns = [] if preparation is None else check_columns(recipe, preparation)
    device = processes.own_device(choose_device(recipe.settings.device))
    dataset = recipe.data(preparation)
    if not any(key.startswith("text.") for key in dataset.preparation):
        recipe = recipe.without_text()
    labels = recipe.statistics(dataset)
    recipe = recipe.resolved(labels)
    recipe.check_fit(labels)
    facts = Facts(
        dataset.inputs, dataset.label_names, labels, dataset.preparation, _auxiliary_labels(recipe, dataset)
    )
    classifier = recipe.classifier(inputs=facts.inputs, labels=labels, auxiliary_labels=facts.auxiliary)
    if fresh:
        _start_weights(classifier.network.backbone, recipe, facts, source)
    check_combinations(recipe.settings, classifier, rows=len(dataset.train))
    settings, config, why = _with_precision(recipe, classifier, device)
    settings, config, chunked = _with_chunk(settings, config, classifier, fresh=fresh)
    dataset, too_few = _few_batches(dataset, settings, seed=recipe.seed)
    if fresh and source is not None and processes.is_main():
        keep_preparation(folder, source.facts.preparation)
    return Job(
        folder=folder,
        config=config,
        dataset=dataset,
        facts=facts,
        classifier=classifier,
        make_optimizer=recipe.optimizer,
        schedule=recipe.schedule,
        augment=recipe.augmentation(facts.inputs, facts.preparation),
        settings=settings,
        device=device,
        seed=recipe.seed,
        notes=(
            *recipe.notes,
            *columns,
            *dataset.notes,
            *_notes(recipe, classifier, dataset, labels),
            *why,
            *chunked,
            *too_few,
            *combination_notes(settings, classifier, device),
        ),
    )


def _with_precision(
    recipe: Recipe, classifier: Classifier, device: str
) -> tuple[TrainerSettings, Config, list[str]]:
    """Settings and config with the precision that `auto` chooses, and why."""
    wanted = recipe.settings.precision
    if wanted != "auto":
        return recipe.settings, recipe.config, []
    precision, why = choose_precision(device=device, network=classifier.network)
    config = {**recipe.config, "trainer": {**recipe.config["trainer"], "precision": precision}}
    return (
        replace(recipe.settings, precision=precision),
        config,
        [f"trainer.precision=auto is {precision}: {why}."],
    )


def _with_chunk(
    settings: TrainerSettings, config: Config, classifier: Classifier, *, fresh: bool
) -> tuple[TrainerSettings, Config, list[str]]:
    """Settings and config with the chunk that `auto` means for labels in shards, and a note.

    The optimiser's state has the chunks it began with, so a new run writes their size down: it can then go
    on in another number of processes.
    """
    together = processes.size()
    if not (fresh and settings.label_shards and settings.label_chunk == "auto" and together > 1):
        return settings, config, _chunk_note(settings, classifier)
    chunk = auto_chunk(classifier.network, processes=together)
    return (
        replace(settings, label_chunk=chunk),
        {**config, "trainer": {**config["trainer"], "label_chunk": chunk}},
        [f"trainer.label_chunk=auto is {chunk} in {together} processes with trainer.label_shards=true."],
    )


def _chunk_note(settings: TrainerSettings, classifier: Classifier) -> list[str]:
    if settings.label_chunk != "auto":
        return []
    size = auto_chunk(classifier.network)
    return [f"trainer.label_chunk=auto takes {size} labels at a time; evaluation goes by labels, too."]


def _few_batches(dataset: Dataset, settings: TrainerSettings, *, seed: int) -> tuple[Dataset, list[str]]:
    """With `overfit_batches` the rows of the first batches as all three splits, and a note."""
    if settings.overfit_batches is None:
        return dataset, []
    batches = epoch_order(len(dataset.train), settings.batch_size, seed=seed, epoch=0)
    few = dataset.train.rows(torch.cat(batches[: settings.overfit_batches]))
    note = f"trainer.overfit_batches: the same {len(few)} rows are trained, validated and tested on."
    return replace(dataset, train=few, valid=few, test=few), [note]


def _auxiliary_labels(recipe: Recipe, dataset: Dataset) -> LabelStatistics | None:
    """Statistics of the auxiliary targets, where an auxiliary head reads them."""
    if recipe.auxiliary is None or not recipe.auxiliary.own_targets or dataset.train.auxiliary_NA is None:
        return None
    return LabelStatistics.from_targets(dataset.train.auxiliary_NA, dataset.train.weight_N)


def _start_weights(backbone: Backbone, recipe: Recipe, facts: Facts, source: "TrainedRun | None") -> None:
    """The weights that a new backbone starts with, where these are not random.

    Raises:
        UserError: the backbone of the other run is built otherwise.
    """
    if source is not None:
        other, inputs = source.classifier.network.backbone, (facts.inputs, source.facts.inputs)
        take_backbone(backbone, other, recipe=recipe, its=source.recipe, inputs=inputs)
        return
    for part in backbone.modules():  # side inputs join it in a backbone around it
        if isinstance(part, PretrainedBackbone):
            part.load_pretrained()


def _notes(recipe: Recipe, classifier: Classifier, dataset: Dataset, labels: LabelStatistics) -> list[str]:
    """What the choices mean on these data, as far as a user may not expect it."""
    notes = []
    if recipe.init_from is not None:
        notes.append(f"The backbone starts with the weights of {recipe.init_from}.")
    left_out = [name for name in dataset.inputs if name != MAIN]
    if left_out and "join" not in recipe.makers:
        notes.append(f"The inputs {', '.join(left_out)} are not used (join=none).")
    empty_rows = dataset.train.n_empty
    if classifier.loss.ignores_empty_rows and empty_rows:
        notes.append(f"{empty_rows} training rows have no label and carry no gradient under this loss.")
    never = [dataset.label_names[label] for label in (labels.known_L == 0).nonzero().flatten().tolist()]
    if never:
        notes.append(
            f"{len(never)} of {labels.n_labels} labels are known in no training row, so their probabilities "
            f"mean nothing: {', '.join(never[:5])}{', ...' if len(never) > 5 else ''}."
        )
    if labels.levels == 2 and recipe.reads_levels(labels):
        notes.append(
            "Targets are 0 or 1, so each label has two levels, as with head=sigmoid; dataset=digits "
            "dataset.targets=levels has more."
        )
    if classifier.loss.warning is not None:
        notes.append(classifier.loss.warning)
    return notes


def read_run_config(folder: Path) -> Config:
    """The resolved config of a run folder.

    Raises:
        UserError: the folder is no run.
    """
    path = RunFiles(folder).config
    if not path.is_file():
        raise UserError(f"{folder} is no run: it has no {path.name}; give a folder that mlc.train has made")
    check_run_folder(folder)
    config = read_yaml(path)
    if not isinstance(config, dict):
        raise UserError(f"{path} holds no config: give a folder that mlc.train has made")
    return config


@dataclass(frozen=True)
class TrainedRun:
    """A finished run, read back from its folder.

    Args:
        recipe: its choices.
        classifier: trained and fitted, on the CPU, in evaluation mode.
        facts: what it was built for.
    """

    recipe: Recipe
    classifier: Classifier
    facts: Facts


def read_trained_run(
    folder: Path,
    *,
    otherwise: Mapping[str, str] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> TrainedRun:
    """The classifier that a finished run has left.

    Args:
        folder: of the run.
        otherwise: other choices of decision or calibration, by the names of their configs; these two then
            come unfitted.
        options: changed options of decision or calibration, which then come unfitted, too.

    Raises:
        UserError: no run, not finished, damaged, or another choice that does not fit.
    """
    config = read_run_config(folder)
    for group, name in (otherwise or {}).items():
        if name not in shipped(group):
            raise UserError(f"{group}={name} does not exist{did_you_mean(name, shipped(group))}")
        config[group] = load_shipped(group, name)
    for group, changes in (options or {}).items():
        check_value(dict[str, Any], config.get(group), name=group)
        config[group] |= changes
    recipe = read_recipe(config)
    path = RunFiles(folder).classifier
    if not path.is_file():
        raise UserError(
            f"{folder} has not finished training, so it has no classifier yet: "
            f"run python -m mlc.train resume={folder}"
        )
    facts, parts = load_facts(path)
    check_stored(facts.preparation, path)
    recipe = recipe.resolved(facts.labels)
    recipe.check_fit(facts.labels)
    with no_larger_than(parts, path):
        classifier = recipe.classifier(
            inputs=facts.inputs, labels=facts.labels, auxiliary_labels=facts.auxiliary
        )
    for name, part in classifier.parts().items():
        if (otherwise or options) and name in ("calibrator", "decision"):
            continue
        try:
            part.load_state_dict(parts[name])
        except (KeyError, RuntimeError, TypeError, AttributeError) as error:
            raise UserError(
                f"{path} does not fit {folder}/config.yaml: one of the two has been changed"
            ) from error
        part.eval()
    return TrainedRun(recipe, classifier, facts)
