"""The data set of a config, without a run."""

from collections.abc import Sequence

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from mlc.data.dataset import Dataset
from mlc.errors import UserError
from mlc.experiment.compose import sentence
from mlc.experiment.composed import plain_values
from mlc.experiment.recipe import read_recipe
from mlc.experiment.shipped import Config, config_folder


def load_dataset(overrides: Sequence[str]) -> Dataset:
    """The data that `python -m mlc.train` would train on with these overrides, as they are read.

    Raises:
        UserError: an override that cannot be read, choices that do not fit one another, or data that cannot
            be read.
    """
    recipe = read_recipe(_compose(overrides))
    text = recipe.makers["text"]() if "text" in recipe.makers else None
    return recipe.source.load(seed=recipe.seed, text=text)


def _compose(overrides: Sequence[str]) -> Config:
    """The resolved config as plain values."""
    try:
        with initialize_config_dir(config_dir=str(config_folder().absolute()), version_base="1.3"):
            config = compose("train", overrides=list(overrides))
        return plain_values(config)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise UserError(sentence(error)) from error
