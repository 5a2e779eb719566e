"""From command-line overrides to composed configs, one per run, by Hydra."""

import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from hydra import main as hydra_main
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from mlc.errors import Fault, UserError
from mlc.experiment.composed import plain_values
from mlc.experiment.hydra_guard import check_flags, guarded
from mlc.experiment.instantiate import did_you_mean
from mlc.experiment.recipe import group_names
from mlc.experiment.shipped import Config, config_folder, load_shipped, shipped
from mlc.training import processes

Start = Callable[[Config, Path], None]


def compose_runs(overrides: Sequence[str], start: Start) -> None:
    """Compose the config (one per job in a sweep) and start each run in its folder.

    A run that fails does not end a sweep; after the last one the failures are counted.

    Raises:
        UserError: an override that cannot be read, or the mistake of a run.
        Fault: some runs of a sweep failed by no mistake of the user.
    """
    failures: list[Exception] = []
    modes: set[RunMode | None] = set()

    def task(cfg: DictConfig) -> None:
        # Kept and raised after the last run: Hydra would print its own version of the story.
        hydra = HydraConfig.get()
        modes.add(hydra.mode)
        folder = _from_here(Path(hydra.runtime.output_dir))
        try:
            with _removed_if_unused(folder):
                start(_plain(cfg), folder)
        except Exception as error:
            if processes.size() > 1:  # the others are still in this run: none may go on to the next
                raise _SweepEnds(error) from error
            failures.append(error)
            if hydra.mode == RunMode.MULTIRUN:
                _report(error)

    # The name of a run's folder; all of several processes must mean the same one.
    os.environ["MLC_STARTED"] = processes.agree("started", time.strftime("%Y-%m-%d_%H-%M-%S"))
    # Without it Hydra prints errors itself and exits; here only the door does.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # First, because its parser gives up at an option between overrides.
    multirun = [word for word in overrides if word in ("-m", "--multirun")]
    sys.argv = [sys.argv[0], *multirun, *(word for word in overrides if word not in multirun)]
    check_flags(overrides)
    try:
        with guarded(overrides):
            hydra_main(version_base="1.3", config_path=str(config_folder()), config_name="train")(task)()
    except _SweepEnds as end:
        raise end.error from None
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise UserError(sentence(error)) from error
    except (FileExistsError, FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise UserError(
            f"the folder {error.filename} cannot be made ({error.strerror}): name another one "
            f"(hydra.run.dir=<folder>, with -m hydra.sweep.dir=<folder>)"
        ) from error
    if failures and RunMode.MULTIRUN not in modes:
        raise failures[0]
    if failures:
        kind = UserError if all(isinstance(error, UserError) for error in failures) else Fault
        raise kind(f"{len(failures)} of the sweep's runs failed; what was wrong stands above")


class _SweepEnds(BaseException):
    """A fault in one of several processes; Hydra keeps any mere Exception until after the last run."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


@contextmanager
def _removed_if_unused(folder: Path) -> Iterator[None]:
    """Hydra makes the folder before anything is checked: after a mistake it must not stay there empty."""
    try:
        yield
    except BaseException:
        with suppress(OSError):  # not empty, or another process was faster
            folder.rmdir()
        raise


def _report(error: Exception) -> None:
    """Say at once which run of a sweep failed; a fault with its trace, because the door shows only one."""
    job = HydraConfig.get().job
    print(f"error: run {job.num} ({job.override_dirname}): {error}", file=sys.stderr)
    if not isinstance(error, UserError | Fault):
        traceback.print_exception(error)


def _plain(cfg: DictConfig) -> Config:
    """The resolved config as plain values, with the names of the chosen configs under `choices`."""
    try:
        config = plain_values(cfg)
    except OmegaConfBaseException as error:  # a value names another that is not there, or is missing
        raise UserError(sentence(error)) from error
    names = {str(key).partition("@")[0]: name for key, name in HydraConfig.get().runtime.choices.items()}
    groups = ["experiment", "debug", *group_names()]
    return {"choices": {group: str(names[group]) for group in groups if names.get(group)}, **config}


def sentence(error: Exception) -> str:
    """Hydra's message in one line, in the user's words where it is a common mistake."""
    text = " ".join(f"{error} {error.__cause__ or ''}".split())
    if found := re.search(r"Could not find '(\w+)/([^']*)'", text):
        group, name = found.groups()
        return f"{group}={name} does not exist; choose one of {', '.join(shipped(group))}"
    if found := re.search(r"Could not override '([^']*)'", text):
        key = found[1]
        return f"{key} is no key of this config{_hint(key)}; python -m mlc.train --cfg job shows them all"
    return text


def _hint(key: str) -> str:
    """The nearest key there is, for one that is not."""
    group, dot, option = key.partition(".")
    if not dot or group not in group_names():
        return did_you_mean(group, [*group_names(), "seed"])
    configs = {name: load_shipped(group, name) for name in shipped(group)}
    having = [name for name, config in configs.items() if option in config]
    if having:
        return f": {option} is an option of {group}={' or '.join(having)}"
    options = {name for config in configs.values() for name in config}
    return did_you_mean(option, sorted(options - {"_target_", "_partial_", "auto"}))


def _from_here(folder: Path) -> Path:
    """The folder as a person in the current directory would write it."""
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
