"""Train: `python -m mlc.train head=sigmoid`; go on with a run: `python -m mlc.train resume=<run folder>`."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from mlc.errors import UserError
from mlc.experiment.assemble import make_job, read_run_config
from mlc.experiment.command_line import existing_folder, exit_code, quote_verbatim, take
from mlc.experiment.compose import compose_runs
from mlc.experiment.recipe import read_recipe
from mlc.experiment.shipped import Config
from mlc.training.job import Job
from mlc.training.run import run, why_finished
from mlc.training.run_files import RunFiles

_RESUME_OPTIONS = ("trainer.max_epochs", "trainer.device")


def main() -> None:
    """The command-line door."""
    sys.exit(exit_code(lambda: train(sys.argv[1:])))


def train(words: Sequence[str]) -> None:
    """Start a run or a sweep from overrides, or resume the run that `resume=` names."""
    resumed, rest = take(words, "resume")
    if resumed is None:
        compose_runs(quote_verbatim(rest), start)
    else:
        resume(existing_folder(resumed, key="resume"), rest)


def start(config: Config, folder: Path) -> None:
    """Train a new run in its own folder."""
    if RunFiles(folder).config.exists():
        raise UserError(
            f"{folder} already holds a run: resume it (resume={folder}) or name another folder "
            f"(hydra.run.dir=...)"
        )
    _run(make_job(read_recipe(config), folder, fresh=True), resume=False)


def resume(folder: Path, words: Sequence[str]) -> None:
    """Continue a run in its own folder, with its own config."""
    config = read_run_config(folder)
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in _RESUME_OPTIONS:
            raise UserError(
                f"{word} cannot be changed in a resumed run: beside resume= only "
                f"{' and '.join(_RESUME_OPTIONS)} are accepted; start a new run for anything else"
            )
        config["trainer"][key.partition(".")[2]] = yaml.safe_load(value)
    recipe = read_recipe(config)
    if ending := why_finished(folder, recipe.settings):
        print(f"{folder} is finished ({ending}) and its results stand in {RunFiles(folder).results}")
        return
    _run(make_job(recipe, folder, fresh=False), resume=True)


def _run(job: Job, *, resume: bool) -> None:
    try:
        run(job, resume=resume)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"go on with python -m mlc.train resume={shlex.quote(str(job.folder))}"
        ) from None


if __name__ == "__main__":
    main()
