"""Where a split lies while it is trained on, and how its batches reach the device.

What fits lies on the training device whole, and a batch is an index selection there. What does not fit stays
in the host's memory, or in the file that it is mapped from; then a thread cuts out the next batches while the
device works on this one, and copies them from pinned memory.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from mlc.batch import Batch
from mlc.data.dataset import Split
from mlc.rows import SparseRows

_SHARE = 0.5  # of a device's free memory that data may take: the rest is for the network and its gradients
_AHEAD = 2  # batches


@dataclass(frozen=True)
class Placed:
    """A split where it is trained on, and one sentence on where that is and why."""

    split: Split
    why: str


def place(split: Split, device: str) -> Placed:
    """Move a split to the device if it fits into half of the memory that is free there."""
    size = f"the {_size(n_bytes(split))} of training rows"
    if device == "cpu":
        return Placed(split, f"{size} stay where they were loaded, and batches are index selections")
    free, _ = torch.cuda.mem_get_info(device)
    if n_bytes(split) <= _SHARE * free:
        return Placed(
            split.to(device), f"{size} lie on {device} ({_size(free)} free), and batches are index selections"
        )
    return Placed(
        split,
        f"{size} are more than half of the {_size(free)} that are free on {device}: they stay on the host, "
        f"a thread copies the next {_AHEAD} batches ahead",
    )


def n_bytes(split: Split) -> int:
    """Bytes of all tensors of a split."""
    parts = [*split.inputs.values(), split.y_NL, split.weight_N, split.auxiliary_NA]
    return sum(tensor.nbytes for part in parts if part is not None for tensor in _tensors(part))


def _size(number: int) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.3g} MB"


def _tensors(part: object) -> list[Tensor]:
    if isinstance(part, Tensor):
        return [part]
    return [value for value in vars(part).values() if isinstance(value, Tensor)]


def batches(split: Split, rows: Iterable[Tensor], device: str) -> Iterator[Batch]:
    """The batches of these rows, in their order, on the device.

    Args:
        split: on the device or on the host.
        rows: int64 indices on the host, one tensor for each batch.
        device: where the batches are wanted.
    """
    if split.device == torch.device(device):
        for rows_B in rows:
            yield split.select(rows_B if device == "cpu" else rows_B.to(device, non_blocking=True))
        return
    remaining = iter(rows)
    with ThreadPoolExecutor(1) as thread:

        def ahead(count: int) -> list[Future[Batch]]:
            return [thread.submit(_pinned, split, rows_B) for rows_B in islice(remaining, count)]

        waiting = ahead(_AHEAD)
        while waiting:
            batch = waiting.pop(0).result()
            waiting += ahead(1)
            yield _to(batch, device)


def _pinned(split: Split, rows_B: Tensor) -> Batch:
    batch = split.select(rows_B)
    return _each(batch, Tensor.pin_memory) if torch.cuda.is_available() else batch


def _to(batch: Batch, device: str) -> Batch:
    return _each(batch, lambda tensor: tensor.to(device, non_blocking=True))


def _each(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    return Batch(
        inputs={
            name: values.map_tensors(change) if isinstance(values, SparseRows) else change(values)
            for name, values in batch.inputs.items()
        },
        y_BL=change(batch.y_BL),
        weight_B=None if batch.weight_B is None else change(batch.weight_B),
        auxiliary_BA=None if batch.auxiliary_BA is None else change(batch.auxiliary_BA),
        all_known=batch.all_known,
        label_rows=None if batch.label_rows is None else batch.label_rows.map_tensors(change),
    )
