"""Which validation rows pick the checkpoint, and which fit the calibrator and the decision rule."""

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
    counting = valid.rows(valid.counting_rows())
    halves = stratified_split(counting.y_NL, fraction=0.5, seed=seed)
    # Of two or three rows, stratification can put all on one side.
    if min(map(len, halves)) == 0:
        raise UserError(
            f"trainer.separate_fit=true halves the validation rows, and {len(counting)} are too few for "
            f"that: raise dataset.valid_fraction"
        )
    return counting.rows(halves[1] if held_out else halves[0])
