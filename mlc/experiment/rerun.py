"""Training a run again: the same config in a new folder, what is different now, and whether it matters."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mlc.data.root import data_root
from mlc.errors import UserError
from mlc.experiment.assemble import make_job, read_run_config
from mlc.experiment.recipe import read_recipe
from mlc.experiment.safe_yaml import parse_yaml
from mlc.experiment.shipped import Config
from mlc.paths import home_path
from mlc.training import processes
from mlc.training.job import Job
from mlc.training.provenance import Provenance, changed_data, differences
from mlc.training.run_files import RunFiles
from mlc.training.stored_metrics import Metrics, compare, read_metrics

_FOLDER = "hydra.run.dir"
_DATA = ("dataset.path", "dataset.folder", "dataset.picture_folder")
# Where files are may change: what is in them is checked against the checksums.
_PLACES = (*_DATA, "dataset.table", "dataset.train", "dataset.test", "text.model", "backbone.model")
_MULAN, _LABELS = "mlc.data.mulan.Mulan", "dataset.labels"  # a file there, and columns elsewhere
_INIT_FROM = "init_from"
_SHARDS = "trainer.label_shards"
_MOST_THREADS = 1024  # a number from a file that others may have written


@dataclass(frozen=True)
class Rerun:
    """A run to be trained again.

    Args:
        old: its folder.
        folder: where to train.
        config: its config, with the places that were given.
        provenance: what it was made from; None where it has not said so.
        metrics: what it measured; None where it has not finished.
    """

    old: Path
    folder: Path
    config: Config
    provenance: Provenance | None
    metrics: Metrics | None

    @contextmanager
    def threads(self) -> Iterator[None]:
        """Work with as many threads as the run did: sums over rows are cut by them, and so rounded."""
        before = torch.get_num_threads()
        then = None if self.provenance is None else self.provenance.sittings[-1].machine.get("threads")
        if isinstance(then, int) and 0 < then <= _MOST_THREADS:
            torch.set_num_threads(then)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def job(self) -> Job:
        """Load the data and build everything; the job's notes say what is different this time.

        Raises:
            UserError: something that the run read is no longer there.
        """
        _check_source(self.config.get(_INIT_FROM), self.old)
        try:
            job = make_job(read_recipe(self.config), self.folder, fresh=True)
        except UserError as error:
            if hint := _moved(self.config):
                raise UserError(f"{str(error).rstrip('.')}; {hint}") from error
            raise
        return replace(job, notes=(*job.notes, *self._notes(job)))

    def verdict(self) -> str:
        """Whether the numbers are those of the old run; to be asked when the new one has finished."""
        then, now = self.metrics, read_metrics(self.folder)
        if then is None:
            return f"{self.old} has not finished, so there are no numbers to compare with."
        assert now is not None, "training ends with results"
        sentence = compare(then, now, place=str(RunFiles(self.old).results))
        return sentence if then == now else f"{sentence} {self._cause()}"

    def _cause(self) -> str:
        """What may have changed the numbers."""
        now = Provenance.read(self.folder)
        if self.provenance is None or now is None:
            return f"{self.old} does not say what it was made from, so the cause is not known."
        if different := self.different(now):
            return " ".join(["What is different this time:", *different])
        return (
            "Nothing that is known to matter is different: on a GPU some sums have no fixed order "
            "(trainer.deterministic=true gives them one); on a CPU this should not happen."
        )

    def _notes(self, job: Job) -> list[str]:
        notes = [f"This run trains {self.old} again."]
        if self.provenance is None:
            return [*notes, f"{self.old} does not say what it was made from, so only the numbers can tell."]
        different = self.different(Provenance.of(job))
        if not different:
            return [*notes, "Data, first weights, code, versions and machine are those of that run."]
        return [*notes, *different]

    def different(self, now: Provenance | None) -> list[str]:
        """What differs between the old run and this one, a sentence each."""
        then = self.provenance
        if then is None or now is None:
            return []
        found = []
        if changed := changed_data(then.data, now.data):
            found.append(f"The data are not those of {self.old}: other {', '.join(changed)}.")
        if then.initial_weights != now.initial_weights:
            found.append(f"The network does not start with the weights that {self.old} started with.")
        if other := differences(then.sittings, now.sittings[0]):
            found.append(f"Not as in {self.old}: {'; '.join(other)}.")
        if settings := _resumed_with(then):
            found.append(
                f"{self.old} was resumed with {' '.join(settings)}, which this run has from its first step."
            )
        return found


def read_rerun(old: Path, words: Sequence[str]) -> Rerun:
    """What is to be trained again, and where.

    Args:
        old: folder of the run, finished or not.
        words: what may be given beside `rerun=`: the new folder, the device, whether labels are dealt out to
            processes, where they were, and where files are now.

    Raises:
        UserError: the folder is no run, or a word would make it another run.
    """
    config = deepcopy(read_run_config(old))
    folder = None
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not value or key not in (_FOLDER, *_settings(config), *_places(config)):
            raise UserError(
                f"{word} cannot be changed in a rerun: beside rerun= only {_accepted(config)} are accepted; "
                f"start a new run for anything else"
            )
        if key == _FOLDER:
            folder = Path(value)
        else:
            group, _, option = key.rpartition(".")
            node = config.get(group) if group else config
            if isinstance(node, dict):  # what is no config is refused when it is read
                node[option] = parse_yaml(value, name=key) if key == _SHARDS else value
    return Rerun(
        old=old,
        folder=folder or _usual_folder(config),
        config=config,
        provenance=Provenance.read(old),
        metrics=read_metrics(old),
    )


def _settings(config: Config) -> tuple[str, ...]:
    """The settings that change no step, but for the order of sums."""
    trainer = config.get("trainer")
    sharded = isinstance(trainer, dict) and trainer.get("label_shards") is True
    return ("trainer.device", _SHARDS) if sharded else ("trainer.device",)


def _accepted(config: Config) -> str:
    """What may be given beside rerun=, in words."""
    keys = [f"{key}=" for key in (_FOLDER, *_settings(config))]
    if places := _places(config):
        return f"{', '.join(keys)} and where its files are now ({', '.join(places)})"
    return f"{', '.join(keys[:-1])} and {keys[-1]}"  # its data are mlc's own, or below MLC_DATA


def _places(config: Config) -> list[str]:
    """The keys of this config that say where files are."""
    found = []
    dataset = config.get("dataset")
    mulan = isinstance(dataset, dict) and dataset.get("_target_") == _MULAN
    for key in (*_PLACES, *([_LABELS] if mulan else [])):
        group, _, option = key.partition(".")
        node = config.get(group)
        if isinstance(node, dict) and isinstance(node.get(option), str):
            found.append(key)
    return [*found, *([_INIT_FROM] if config.get(_INIT_FROM) else [])]


def _usual_folder(config: Config) -> Path:
    """A folder beside the other runs, named as they are."""
    choices = config.get("choices", {})
    started = processes.agree("started", time.strftime("%Y-%m-%d_%H-%M-%S"))
    names = [str(choices[group]) for group in ("dataset", "head") if group in choices]
    return Path("runs", "_".join([started, *names, "rerun"]))


def _check_source(init_from: Any, old: Path) -> None:
    if isinstance(init_from, str) and not RunFiles(home_path(init_from)).classifier.is_file():
        raise UserError(
            f"{old} began with the backbone of {init_from}, where no finished run is: put it back, or say "
            f"where it is now ({_INIT_FROM}=...)"
        )


def _moved(config: Config) -> str:
    """Which of the places of the data is empty, and what to do; "" if none is."""
    for key in _places(config):
        if key in _DATA:
            group, _, option = key.partition(".")
            value = str(config[group][option])
            if not home_path(value).exists() and not (data_root() / value).exists():
                return f"{key}={value} is not there, seen from here: if it has moved, give {key}=<new place>"
    return ""


def _resumed_with(then: Provenance) -> list[str]:
    """The settings that were changed when the run was resumed."""
    first, *later = then.sittings
    words = {word: None for sitting in later for word in sitting.command if word not in first.command}
    return [word for word in words if word.startswith("trainer.") and word.isprintable()]
