"""Processes played by threads, which exchange tensors as torch.distributed's collectives do."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.distributed as dist

from mlc.metrics import merging


class Together:
    """Collectives of `size` threads; like gloo's they want equal shapes and types, and fill what is given."""

    ReduceOp = dist.ReduceOp

    def __init__(self, size):
        self._size, self._sent, self._rank = size, [None] * size, threading.local()
        self._barrier = threading.Barrier(size, timeout=20)

    def enter(self, rank):
        self._rank.value = rank

    def is_available(self):
        return True

    def is_initialized(self):
        return True

    def get_world_size(self):
        return self._size

    def _exchange(self, tensor):
        assert tensor.is_contiguous()
        self._sent[self._rank.value] = tensor.clone()
        self._barrier.wait()
        sent = list(self._sent)
        self._barrier.wait()
        assert len({(part.dtype, part.shape) for part in sent}) == 1
        return sent

    def all_gather(self, tensors, tensor):
        for into, part in zip(tensors, self._exchange(tensor), strict=True):
            into.copy_(part)

    def all_reduce(self, tensor, op):
        stacked = torch.stack(self._exchange(tensor))
        reduced = {"SUM": stacked.sum(0), "MAX": stacked.amax(0), "MIN": stacked.amin(0)}[op.name]
        tensor.copy_(reduced)


@pytest.fixture
def in_processes(monkeypatch):
    """Run a function of the rank in each of several processes; their results."""

    def run(size, function):
        together = Together(size)
        monkeypatch.setattr(merging, "dist", together)

        def process(rank):
            together.enter(rank)
            return function(rank)

        with ThreadPoolExecutor(size) as pool:
            return list(pool.map(process, range(size)))

    return run
