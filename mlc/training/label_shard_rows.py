"""The rows of a whole batch in every process, and the way of the gradient back to the process of each row.

    own rows -> own features -> features of all processes -> loss of the own labels
                gradient there <- sum over the processes <- its gradient

What is gathered besides is small: true labels and weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from mlc.rows import LabelRows, SparseRows, Targets
from mlc.training import processes


@dataclass(frozen=True)
class TrainingRows:
    """What the label layer learns from.

    Args:
        x_BD: features.
        targets: B×L.
        weight_B: weights.
    """

    x_BD: Tensor | SparseRows
    targets: Targets
    weight_B: Tensor


def rows_of_all(own: TrainingRows, *, counted: bool) -> TrainingRows:
    """The rows of all processes by their ranks; the gradient at the features finds its way back.

    Args:
        own: rows of this process.
        counted: whether they count; a process without any row of a batch has one that stands in for none.
    """
    count = len(own.weight_B) if counted else 0
    entries = len(own.x_BD.ids_M) if counted and isinstance(own.x_BD, SparseRows) else 0
    labels = len(own.targets.ids_M) if counted and isinstance(own.targets, LabelRows) else 0
    sizes = processes.gather_equal(torch.tensor([count, entries, labels]))
    rows, entries_of, labels_of = torch.stack(sizes).T.tolist()
    x_BD: Tensor | SparseRows
    if isinstance(own.x_BD, SparseRows):
        x_BD = _sparse_of_all(own.x_BD, rows, entries_of)
    else:
        x_BD = _OfAll.apply(own.x_BD, rows)  # type: ignore[no-untyped-call]
    targets: Targets
    if isinstance(own.targets, LabelRows):
        length_B = _of_all(own.targets.length_N, rows)
        ids_M = _of_all(own.targets.ids_M, labels_of)
        targets = LabelRows(ids_M, length_B.cumsum(0) - length_B, length_B, own.targets.n_labels)
    else:
        targets = _of_all(own.targets, rows)
    return TrainingRows(x_BD, targets, _of_all(own.weight_B, rows))


def _sparse_of_all(own: SparseRows, rows: Sequence[int], entries: Sequence[int]) -> SparseRows:
    length_B = _of_all(own.length_N, rows)
    values_M = None if own.values_M is None else _of_all(own.values_M, entries)
    return SparseRows(
        _of_all(own.ids_M, entries), length_B.cumsum(0) - length_B, length_B, values_M, own.width
    )


def _of_all(own: Tensor, lengths: Sequence[int]) -> Tensor:
    """The first `lengths[rank]` rows of every process's tensor, one after another."""
    if not max(lengths):
        return own[:0]
    padded = _padded(own[: lengths[processes.rank()]], max(lengths))
    gathered = [torch.empty_like(padded) for _ in lengths]
    dist.all_gather(gathered, padded)
    return torch.cat([rows[:length] for rows, length in zip(gathered, lengths, strict=True)])


def _padded(rows: Tensor, length: int) -> Tensor:
    """With rows of zeros, because processes exchange equal shapes."""
    if len(rows) == length:
        return rows.contiguous()
    padded = rows.new_zeros(length, *rows.shape[1:])
    padded[: len(rows)] = rows
    return padded


class _OfAll(torch.autograd.Function):
    """Features of all processes; their gradients are added up, each process taking those of its own rows."""

    @staticmethod
    def forward(ctx: Any, x_BD: Tensor, lengths: Sequence[int]) -> Tensor:
        ctx.lengths, ctx.rows = lengths, len(x_BD)
        return _of_all(x_BD, lengths)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_BD: Tensor) -> tuple[Tensor, None]:
        wide = torch.promote_types(gradient_BD.dtype, torch.float32)
        sum_BD = gradient_BD.to(wide, copy=True, memory_format=torch.contiguous_format)
        dist.all_reduce(sum_BD)  # gloo's reduce_scatter is no cheaper, and older versions have none
        own_BD = sum_BD.split(ctx.lengths)[processes.rank()]
        return _padded(own_BD, ctx.rows).to(gradient_BD.dtype), None


def log_sum_over_shards(log_sum_B: Tensor) -> Tensor:
    """log Σ exp over all labels, from that over the labels of each process."""
    of_each = [torch.empty_like(log_sum_B) for _ in range(processes.size())]
    dist.all_gather(of_each, log_sum_B)
    return torch.stack(of_each).logsumexp(0)
