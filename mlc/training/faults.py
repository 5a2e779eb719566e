"""What is said about a step that was not finite, and about a device that is full."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch

from mlc.batch import BatchInput
from mlc.data.dataset import Split
from mlc.errors import Fault
from mlc.rows import SparseRows
from mlc.training.loop import BadStep

_SHOWN = 10


def describe(bad: BadStep, train: Split, label_names: Sequence[str]) -> str:
    """One sentence on a step that was left out: its loss, its training rows, their labels and their inputs.

    Args:
        bad: the step.
        train: the split that its rows are of.
        label_names: the L labels.
    """
    batch = train.select(bad.rows_B.to(train.device))
    rows = _first([str(row) for row in bad.rows_B.tolist()])
    if batch.label_rows is not None:
        counts_L = torch.bincount(batch.label_rows.ids_M.long(), minlength=len(label_names))
    else:
        counts_L = (batch.y_BL > 0).sum(0)
    shown = counts_L.argsort(descending=True, stable=True)
    labels = [f"{label_names[i]} {int(counts_L[i])}" for i in shown.tolist() if counts_L[i] > 0]
    bad_inputs = [f"{name} {count}" for name, count in _not_finite(batch.inputs).items() if count]
    inputs = (
        f"values that are not finite in its inputs: {', '.join(bad_inputs)}"
        if bad_inputs
        else ("all its inputs are finite")
    )
    return (
        f"step {bad.step} was not finite (loss {bad.loss:.4g}) and is left out, {_stay(bad, label_names)}; "
        f"training rows {rows}; positive labels {_first(labels) or 'none'}; {inputs}"
    )


def _stay(bad: BadStep, label_names: Sequence[str]) -> str:
    """Whether all weights are as before."""
    if not bad.moved_labels:
        return "the weights stay"
    return (
        f"the weights stay but for those of {bad.moved_labels} of {len(label_names)} labels, which had taken "
        f"it before that showed (trainer.label_update=at_step keeps all)"
    )


def _not_finite(inputs: Mapping[str, BatchInput]) -> dict[str, int]:
    found = {}
    for name, values in inputs.items():
        numbers = values.numbers() if isinstance(values, SparseRows) else values
        found[name] = int((~torch.isfinite(numbers)).sum()) if numbers.is_floating_point() else 0
    return found


def _first(words: Sequence[str]) -> str:
    return ", ".join(words[:_SHOWN]) + (f", ... ({len(words)} in all)" if len(words) > _SHOWN else "")


@contextmanager
def explained() -> Iterator[None]:
    """Turn what PyTorch says of a full CUDA device, or under anomaly detection, into a sentence.

    Raises:
        Fault: in place of PyTorch's own error.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise Fault(
            "the CUDA device is out of memory: set trainer.micro_batch_size to fewer rows (the result stays "
            "the same), trainer.precision=bf16, or, in an evaluation, trainer.eval_batch_size to fewer rows "
            f"({str(error).splitlines()[0]})"
        ) from error
    except RuntimeError as error:
        if "returned nan values" not in str(error):
            raise
        raise Fault(
            f"trainer.detect_anomaly: {str(error).rstrip('.')}; where it was called in the forward pass "
            f"stands in the warning above"
        ) from error
