"""Which settings of the trainer cannot go together, or not with this model."""

from torch.nn.modules.batchnorm import _BatchNorm

from mlc.backbones.sparse_linear import SparseLinear
from mlc.errors import UserError
from mlc.heads.linear_on_rows import LinearOnRows
from mlc.model import Classifier
from mlc.training import processes
from mlc.training.linear_baseline import LinearBaseline
from mlc.training.order import epoch_order
from mlc.training.precision import multiplies_bf16
from mlc.training.profile import NOT_RECORDED
from mlc.training.settings import TrainerSettings


def check_combinations(settings: TrainerSettings, classifier: Classifier, *, rows: int) -> None:
    """Refuse what cannot work, before any work is lost.

    Args:
        settings: of the trainer.
        classifier: what it trains.
        rows: training rows.

    Raises:
        UserError: one sentence that names both sides.
    """
    together = processes.size()
    if isinstance(settings, LinearBaseline):
        if together > 1:
            raise UserError("trainer=linear_baseline works in one process: start it without torchrun")
        return
    _check_batch_size(settings, classifier, rows=rows)
    _check_sizes(settings, rows=rows)
    if settings.compile is not None and settings.detect_anomaly:
        raise UserError(
            "trainer.detect_anomaly looks at single operations, and trainer.compile fuses them: set one"
        )
    if settings.compile == "max-autotune" and settings.deterministic:
        raise UserError(
            "trainer.compile=max-autotune picks kernels by their time, another day others, and "
            "trainer.deterministic wants the same bits each time: set trainer.compile=default"
        )
    if settings.batch_size < together:
        raise UserError(
            f"trainer.batch_size={settings.batch_size} gives {together} processes less than a row each: "
            f"raise it"
        )
    losses = [classifier.loss, *([classifier.network.auxiliary.loss] if classifier.network.auxiliary else [])]
    coupling = next((type(loss).__name__ for loss in losses if loss.couples_batch), None)
    if coupling is not None and _cut(settings):
        raise UserError(
            f"{coupling} is one number for a whole batch, which cannot be added up from parts: set "
            f"trainer.micro_batch_size=null, or choose another loss"
        )
    if coupling is not None and together > 1:
        raise UserError(
            f"{coupling} is one number for a whole batch, and {together} processes have a part each: use one "
            f"process, or choose another loss"
        )


def combination_notes(settings: TrainerSettings, classifier: Classifier, device: str) -> list[str]:
    """What goes together, but not as one may expect."""
    notes = []
    if _normalises(classifier) and _cut(settings):
        notes.append("Batch normalisation sees the rows of a micro batch, not those of the whole batch.")
    if _normalises(classifier) and processes.size() > 1:
        notes.append("Batch normalisation sees the rows of one process, not those of the whole batch.")
    if settings.max_steps is not None and not isinstance(settings, LinearBaseline):
        notes.append(
            "The learning rate follows trainer.max_epochs; trainer.max_steps may end the run before."
        )
    native = settings.precision == "fp32" or (settings.precision == "bf16" and multiplies_bf16())
    if device == "cpu" and not native:
        notes.append(
            f"trainer.precision={settings.precision} is emulated on this processor, and slower than fp32; "
            f"trainer.precision=auto takes it where it pays."
        )
    if settings.compile is not None and device == "cpu":
        graphs = ", and CUDA graphs are not there" if settings.compile == "reduce-overhead" else ""
        notes.append(
            f"trainer.compile rarely pays on a processor{graphs}: docs/performance.md has what was measured, "
            f"and the end of the log what it has cost and saved here."
        )
    if settings.compile is not None and _reads_sparse_rows(classifier):
        notes.append(
            "trainer.compile gives up on sparse rows, because every batch has another number of entries."
        )
    return notes


def _check_sizes(settings: TrainerSettings, *, rows: int) -> None:
    """Refuse numbers that leave nothing to do what was asked for."""
    micro = settings.micro_batch_size
    if micro is not None and micro > settings.batch_size:
        raise UserError(
            f"trainer.micro_batch_size={micro} is more than trainer.batch_size={settings.batch_size}, of "
            f"which it is a part: lower it, or set trainer.micro_batch_size=null"
        )
    if settings.profile_steps is None:
        return
    batches = len(epoch_order(rows, settings.batch_size, seed=0, epoch=0))
    steps = settings.max_epochs * min(batches, settings.overfit_batches or batches)
    steps = min(steps, settings.max_steps or steps)
    if steps <= NOT_RECORDED:
        raise UserError(
            f"trainer.profile_steps={settings.profile_steps} records steps after the first {NOT_RECORDED}, "
            f"and this run ends after step {steps}: raise trainer.max_epochs or trainer.max_steps"
        )


def _check_batch_size(settings: TrainerSettings, classifier: Classifier, *, rows: int) -> None:
    if not _normalises(classifier):
        return
    last = rows % settings.batch_size
    if processes.size() > 1 and 0 < last < 2 * processes.size():
        raise UserError(
            f"trainer.batch_size={settings.batch_size} leaves a last batch of {last} of the {rows} rows, and "
            f"batch normalisation needs two for each of {processes.size()} processes: choose another size"
        )
    if min(settings.batch_size, rows) < 2 * processes.size():
        raise UserError(
            f"trainer.batch_size={settings.batch_size} with {rows} training rows gives batches of one "
            f"row, and batch normalisation needs two: raise it, or choose a backbone without it"
        )
    if settings.micro_batch_size == 1:
        raise UserError(
            "trainer.micro_batch_size=1 gives batch normalisation one row, and it needs two: raise it, or "
            "choose a backbone without it"
        )


def _cut(settings: TrainerSettings) -> bool:
    return settings.micro_batch_size is not None and settings.micro_batch_size < settings.batch_size


def _reads_sparse_rows(classifier: Classifier) -> bool:
    return any(isinstance(part, SparseLinear | LinearOnRows) for part in classifier.network.modules())


def _normalises(classifier: Classifier) -> bool:
    return any(isinstance(part, _BatchNorm) for part in classifier.network.modules())
