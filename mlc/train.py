"""Train: `python -m mlc.train head=sigmoid`; go on: `resume=<folder>`; once more: `rerun=<folder>`."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlc import early_signals

if __name__ == "__main__":  # what comes next takes seconds
    early_signals.listen()

from mlc.errors import Stopped, UserError
from mlc.experiment.assemble import make_job, read_run_config
from mlc.experiment.changes import changes
from mlc.experiment.command_line import existing_folder, exit_code, quote_verbatim, take, with_trust
from mlc.experiment.compose import compose_runs
from mlc.experiment.instantiate import check_value
from mlc.experiment.recipe import read_recipe
from mlc.experiment.rerun import read_rerun
from mlc.experiment.safe_yaml import parse_yaml
from mlc.experiment.shipped import Config
from mlc.training import processes
from mlc.training.checkpoints import Checkpoints, Found
from mlc.training.interruption import stopping_before_training
from mlc.training.job import Job
from mlc.training.run import alone, run, why_finished
from mlc.training.run_files import RunFiles

_RESUME_OPTIONS = (
    *("trainer.max_epochs", "trainer.max_steps", "trainer.device", "trainer.label_shards"),
    *("trainer.checkpoint_every_steps", "trainer.checkpoint_every_minutes", "trainer.checkpoint_pause_s"),
)


def main() -> None:
    """The command-line door."""
    with stopping_before_training():
        sys.exit(exit_code(lambda: with_trust(train, sys.argv[1:])))


def train(words: Sequence[str]) -> None:
    """Start a run or a sweep from overrides; resume (`resume=`) or repeat (`rerun=`) the one that is named.

    `resume=auto` resumes what is in the run folder (hydra.run.dir=..., or the jobs of hydra.sweep.dir=...)
    and starts what is not: the same command line goes on after every interruption.
    """
    again, words = take(words, "rerun")
    resumed, rest = take(words, "resume")
    if again is not None and resumed is not None:
        raise UserError("rerun= and resume= are both given: a run goes on, or is trained again; give one")
    with processes.joined():
        if again is not None:
            rerun(existing_folder(again, key="rerun"), rest)
        elif resumed is None:
            compose_runs(quote_verbatim(rest), start)
        elif resumed == "auto":
            _check_folder_is_named(rest)
            compose_runs(quote_verbatim(rest), start_or_resume)
        else:
            resume(existing_folder(resumed, key="resume"), rest)


def start(config: Config, folder: Path) -> None:
    """Train a new run in its own folder; after a fault of one of several processes, go on with it."""
    if processes.restarted():
        start_or_resume(config, folder)
        return
    _refuse_old(folder)
    _run(make_job(read_recipe(config), folder, fresh=True), found=None)


def start_or_resume(config: Config, folder: Path) -> None:
    """Go on with the run in this folder, or train a new one where there is none.

    Raises:
        UserError: the folder's run has another config.
    """
    if not _holds_run(folder):
        _run(make_job(read_recipe(config), folder, fresh=True), found=None)
        return
    changed = changes(read_recipe(config).config, read_run_config(folder))
    if refused := ", ".join(key for key in changed if key not in _RESUME_OPTIONS):
        raise UserError(
            f"{folder} holds a run with another {refused}: name another folder (hydra.run.dir=...), or "
            f"resume that run as it is (resume={folder})"
        )
    _resume(folder, changed)


def _check_folder_is_named(words: Sequence[str]) -> None:
    if not any(word.startswith(("hydra.run.dir=", "hydra.sweep.dir=")) for word in words):
        raise UserError(
            "resume=auto looks into the folder of the run, and the usual one has the time in its name: name "
            "one (hydra.run.dir=<folder>, with -m hydra.sweep.dir=<folder>)"
        )


def resume(folder: Path, words: Sequence[str]) -> None:
    """Continue a run in its own folder, with its own config."""
    changed = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in _RESUME_OPTIONS:
            raise UserError(
                f"{word} cannot be changed in a resumed run: beside resume= only "
                f"{', '.join(_RESUME_OPTIONS[:-1])} and {_RESUME_OPTIONS[-1]} are accepted; start a new "
                f"run for anything else"
            )
        changed[key] = parse_yaml(value, name=key)
    _resume(folder, changed)


def _resume(folder: Path, changed: Mapping[str, Any]) -> None:
    config = read_run_config(folder)
    check_value(dict[str, Any], config.get("trainer"), name="trainer")
    for key, value in changed.items():
        config["trainer"][key.removeprefix("trainer.")] = value
    recipe = read_recipe(config)
    found = _newest(folder)
    if ending := why_finished(folder, found, recipe.settings):
        print(f"{folder} is finished ({ending}) and its results stand in {RunFiles(folder).results}")
        return
    _run(make_job(recipe, folder, fresh=found.state is None), found=found)


def rerun(old: Path, words: Sequence[str]) -> None:
    """Train a run again in a new folder, and say whether its numbers come out again."""
    again = read_rerun(old, words)
    if processes.restarted() and _holds_run(again.folder):
        resume(again.folder, [])
    else:
        _refuse_old(again.folder)
        with again.threads():
            _run(again.job(), found=None)
    if processes.is_main():
        print(again.verdict())


def _run(job: Job, *, found: Found | None) -> None:
    way = f"go on with python -m mlc.train resume={shlex.quote(str(job.folder))}"
    try:
        with processes.gone_explained(way):
            run(job, found=found)
    except Stopped as stop:
        raise Stopped(f"{stop}; {way}") from None
    except KeyboardInterrupt:
        raise KeyboardInterrupt(way) from None


def _refuse_old(folder: Path) -> None:
    if _holds_run(folder):
        raise UserError(
            f"{folder} already holds a run: resume it (resume={folder}) or name another folder "
            f"(hydra.run.dir=...)"
        )


def _holds_run(folder: Path) -> bool:
    """Whether a folder holds a run; the main process looks, before it writes anything there."""
    there = processes.is_main() and RunFiles(folder).config.exists()
    (agreed,) = processes.any_of(there)
    return agreed


def _newest(folder: Path) -> Found:
    """The newest whole checkpoint; the main process looks first, alone, because it renames damaged files."""
    files = RunFiles(folder)
    checkpoints, found = Checkpoints(files.checkpoints), None
    if processes.is_main():
        with alone(files):
            found = checkpoints.newest()
    processes.wait()
    return found or checkpoints.newest()


if __name__ == "__main__":
    early_signals.run(main)
