"""What a config file may not do to Hydra itself.

Hydra instantiates `hydra.callbacks`, launcher and sweeper, lets logging build whatever
`hydra/job_logging` names, and sets environment variables, all before a run sees its config. Those are the
user's to choose, on the command line; a preset that came from somewhere else does not choose them.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra._internal import hydra as _hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import DictConfig, OmegaConf

from mlc.errors import UserError
from mlc.experiment.safe_yaml import read_yaml
from mlc.experiment.shipped import config_folder, train_config
from mlc.experiment.shown import shown

_SILENT = {"version": 1, "root": None, "disable_existing_loggers": False}
_CORE = "hydra._internal.core_plugins."
# Everything in Hydra's own config that names code, folders or the environment, as it is without presets.
_SHIPPED = {
    "callbacks": {},
    "launcher": {"_target_": f"{_CORE}basic_launcher.BasicLauncher"},
    "sweeper": {"_target_": f"{_CORE}basic_sweeper.BasicSweeper", "max_batch_size": None, "params": None},
    "job_logging": _SILENT,
    "hydra_logging": _SILENT,
    "job.env_set": {},
    "job.env_copy": [],
    "searchpath": [],
}
_FOLDERS = ("job.name", "job.chdir", "run.dir", "sweep.dir", "sweep.subdir", "output_subdir")
_FLAGS = frozenset(
    {
        *("-m", "--multirun", "-r", "--run", "-c", "--cfg", "-p", "--package", "--resolve", "-i", "--info"),
        *("-h", "--help", "--hydra-help", "--version", "-cd", "--config-dir", "-sc", "--shell-completion"),
    }
)
_MOST_FILES = 10_000


def check_flags(words: Sequence[str]) -> None:
    """Check the options among the words, and the folders of configs that they bring in.

    `--experimental-rerun` unpickles a file of a run folder; `--config-path` and `--config-name` would put
    another config in the place of the one that all checks are about.

    Raises:
        UserError: an option that is not offered here, or a folder with a file that is no plain YAML.
    """
    for i, word in enumerate(words):
        if word.startswith("experiment="):
            _check_presets(word.partition("=")[2])
        flag, equals, value = word.partition("=")
        if not word.startswith("-"):
            continue
        if flag not in _FLAGS:
            raise UserError(
                f"{shown(flag)} is refused: of Hydra's options there are {', '.join(sorted(_FLAGS))}; a "
                f"folder of configs of your own comes in with --config-dir"
            )
        if flag in ("-cd", "--config-dir"):
            _check_folder(Path(value if equals else "".join(words[i + 1 : i + 2])))


def _check_presets(names: str) -> None:
    """Presets are what people hand on, and the place for them is among the shipped ones."""
    for name in names.split(","):
        path = config_folder() / "experiment" / f"{name}.yaml"
        if path.is_file():
            read_yaml(path)


def _check_folder(folder: Path) -> None:
    """Hydra's own reader follows aliases until the memory is full."""
    seen = 0
    for place, _, names in os.walk(folder):
        for name in names:
            seen += 1
            if seen > _MOST_FILES:
                raise UserError(f"--config-dir={folder} is refused: a folder of configs has fewer files")
            if name.endswith((".yaml", ".yml")):
                path = Path(place, name)
                if not path.is_file():
                    raise UserError(f"{path} is refused: it is no file")
                if not isinstance(read_yaml(path), dict | None):
                    raise UserError(f"{path} holds no config: a config is a mapping from keys to values")


@contextmanager
def guarded(words: Sequence[str]) -> Iterator[None]:
    """Let Hydra compose nothing that changes Hydra itself, but where the words do, while the block runs.

    Hydra has no hook between composing a config and acting on it, so its config loader is another one here:
    a class, because launchers send it to other processes.
    """
    asked = _asked(words)

    def loader(**arguments: Any) -> ConfigLoaderImpl:
        return _GuardedLoader(asked, **arguments)

    internals: Any = _hydra
    original, internals.ConfigLoaderImpl = internals.ConfigLoaderImpl, loader
    try:
        yield
    finally:
        internals.ConfigLoaderImpl = original


class _GuardedLoader(ConfigLoaderImpl):
    """Composes as Hydra does, and looks at the result before anybody else can."""

    def __init__(self, asked: Sequence[str], **arguments: Any) -> None:
        super().__init__(**arguments)
        self._asked = asked

    def load_configuration(self, *arguments: Any, **options: Any) -> DictConfig:
        try:
            config = super().load_configuration(*arguments, **options)
        except KeyError as error:  # hydra.job.env_copy names what the environment lacks
            raise UserError(f"hydra.job.env_copy is refused: it names {error}") from None
        _check_hydra(config, self._asked)
        return config


def _asked(words: Sequence[str]) -> list[str]:
    """What the command line itself says about Hydra: "hydra/launcher=x" is about launcher."""
    keys = [word.partition("=")[0].lstrip("+~").partition("@")[0].replace("/", ".") for word in words]
    return [key.removeprefix("hydra.") for key in keys if key.startswith("hydra.")]


def _check_hydra(config: DictConfig, asked: Sequence[str]) -> None:
    own = train_config()["hydra"]
    expected = _SHIPPED | {key: _at(own, key) for key in _FOLDERS}
    found = OmegaConf.to_container(config.hydra, resolve=False)
    for key, usual in expected.items():
        if any(f"{word}.".startswith(f"{key}.") or f"{key}.".startswith(f"{word}.") for word in asked):
            continue
        if (value := _without_swept(_at(found, key), key)) != usual:
            raise UserError(
                f"hydra.{key}={shown(value)} is refused: a config file may not change Hydra itself; if you "
                f"mean it, say hydra.{key}=... on the command line"
            )


def _without_swept(value: Any, key: str) -> Any:
    """The sweeper without what it sweeps over.

    A preset may say that, as long as it is no part of Hydra and is plain text and numbers: Hydra instantiates
    the sweeper with all that is in it.
    """
    if key != "sweeper" or not isinstance(value, dict) or not isinstance(value.get("params"), dict):
        return value
    own = [str(name).lstrip("+~").partition("@")[0].replace("/", ".") for name in value["params"]]
    if any(name == "hydra" or name.startswith(("hydra.", "_")) for name in own):
        return value
    choices = value["params"].values()
    if any(
        "${" in choice if isinstance(choice, str) else isinstance(choice, dict | list) for choice in choices
    ):
        return value
    return {**value, "params": None}


def _at(tree: Any, key: str) -> Any:
    for part in key.split("."):
        tree = tree.get(part)
    return tree
