"""From command-line overrides to composed configs, one per run, by Hydra."""

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from hydra import main as hydra_main
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mlc.errors import Fault, UserError
from mlc.experiment.recipe import Config, config_folder, group_names

Start = Callable[[Config, Path], None]


def compose_runs(overrides: Sequence[str], start: Start) -> None:
    """Compose the config (one per job in a sweep) and start each run in its folder.

    A run that fails does not end a sweep; after the last one the failures are counted.

    Raises:
        UserError: an override that cannot be read, or the mistake of a run.
        Fault: some runs of a sweep failed by no mistake of the user.
    """
    failures: list[Exception] = []

    def task(cfg: DictConfig) -> None:
        # Kept and raised after the last run: Hydra would print its own version of the story.
        try:
            start(_plain(cfg), Path(HydraConfig.get().runtime.output_dir))
        except Exception as error:
            failures.append(error)
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                _report(error)

    # Without it Hydra prints errors itself and exits; here only the door does.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv = [sys.argv[0], *overrides]
    try:
        hydra_main(version_base="1.3", config_path=str(config_folder()), config_name="train")(task)()
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_sentence(error)) from error
    if len(failures) == 1:
        raise failures[0]
    if failures:
        kind = UserError if all(isinstance(error, UserError) for error in failures) else Fault
        raise kind(f"{len(failures)} runs of the sweep failed; their errors stand above")


def _report(error: Exception) -> None:
    """Say at once which run of a sweep failed; a fault with its trace, because the door shows only one."""
    job = HydraConfig.get().job
    print(f"error: run {job.num} ({job.override_dirname}): {error}", file=sys.stderr)
    if not isinstance(error, UserError | Fault):
        traceback.print_exception(error)


def _plain(cfg: DictConfig) -> Config:
    """The resolved config as plain values, with the names of the chosen configs under `choices`."""
    config = cast(Config, OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True))
    chosen: dict[str, Any] = {}
    for key, name in HydraConfig.get().runtime.choices.items():
        group = str(key).partition("@")[0]
        if group in group_names() and name is not None:
            chosen[group] = str(name)
    return {"choices": chosen, **config}


def _sentence(error: Exception) -> str:
    """Hydra's message in one line."""
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException | HydraException) else None
    lines = [line.strip() for text in (str(error), str(cause or "")) for line in text.splitlines()]
    return " ".join(dict.fromkeys(line for line in lines if line))
