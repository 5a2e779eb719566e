"""Joining what several processes have counted. Where there is one process, everything is returned as it is.

All processes must make the same calls in the same order, each with tensors of one type and, but for rows,
of one shape; they travel through the CPU.
"""

import torch
import torch.distributed as dist
from torch import Tensor


def several() -> bool:
    """Whether torch.distributed is up, with more than one process."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def summed(value: Tensor) -> Tensor:
    """The sum over the processes."""
    return _reduced(value, dist.ReduceOp.SUM)


def largest(value: Tensor) -> Tensor:
    """The largest of the processes' values, element by element."""
    return _reduced(value, dist.ReduceOp.MAX)


def smallest(value: Tensor) -> Tensor:
    """The smallest of the processes' values, element by element."""
    return _reduced(value, dist.ReduceOp.MIN)


def all_rows(rows: Tensor) -> Tensor:
    """The rows of all processes, one process after the other; each may have another number of them."""
    if not several():
        return rows
    lengths = [torch.zeros((), dtype=torch.int64) for _ in range(dist.get_world_size())]
    dist.all_gather(lengths, torch.tensor(len(rows)))
    padded = rows.new_zeros(max(map(int, lengths)), *rows.shape[1:])
    padded[: len(rows)] = rows
    gathered = [torch.empty_like(padded) for _ in lengths]
    dist.all_gather(gathered, padded)
    return torch.cat([part[: int(length)] for part, length in zip(gathered, lengths, strict=True)])


def _reduced(value: Tensor, operation: dist.ReduceOp.RedOpType) -> Tensor:
    if not several():
        return value
    value = value.detach().cpu().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(value, op=operation)
    return value
