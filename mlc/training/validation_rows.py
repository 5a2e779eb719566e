"""Which validation rows pick the checkpoint, and which fit the calibrator and the decision rule."""

from mlc.batch import presence
from mlc.data.dataset import Split
from mlc.data.stratify import stratified_split
from mlc.errors import UserError
from mlc.training.settings import TrainerSettings


def rows_that_pick(valid: Split, settings: TrainerSettings, *, seed: int) -> Split:
    """The rows that pick the checkpoint and stop the run: all, or one half with `separate_fit`."""
    return _half(valid, seed=seed, held_out=False) if settings.separate_fit else valid


def rows_to_fit_on(valid: Split, settings: TrainerSettings, *, seed: int) -> Split:
    """The rows that calibrator and decision rule are fitted on: all, or the other half."""
    return _half(valid, seed=seed, held_out=True) if settings.separate_fit else valid


def _half(valid: Split, *, seed: int, held_out: bool) -> Split:
    if len(valid) < 2:
        raise UserError(
            "trainer.separate_fit=true halves the validation rows, and there is only one: raise "
            "dataset.valid_fraction"
        )
    halves = stratified_split(presence(valid.y_NL), fraction=0.5, seed=seed)
    return valid.rows(halves[1] if held_out else halves[0])
