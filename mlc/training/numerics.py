"""Switches of PyTorch that hold for the whole process, set for one run and put back after it."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

from mlc.training.kept_memory import give_back, kept_memory
from mlc.training.settings import TrainerSettings


@contextmanager
def numerics(settings: TrainerSettings) -> Iterator[None]:
    """Run the block with `deterministic` and `detect_anomaly` as configured, and with memory that is kept."""
    before = torch.are_deterministic_algorithms_enabled()
    benchmark = torch.backends.cudnn.benchmark
    if settings.deterministic:
        # cuBLAS reads it when it starts; with another workspace its sums are not repeatable.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
    try:
        anomaly = settings.detect_anomaly or torch.is_anomaly_enabled()
        # Who trains labels in chunks has less memory to spare than time.
        kept = kept_memory() if settings.label_chunk is None else nullcontext()
        with kept, torch.autograd.set_detect_anomaly(anomaly):
            yield
    finally:
        if settings.deterministic:  # the call imports the compiler, which takes a second
            torch.use_deterministic_algorithms(before)
        torch.backends.cudnn.benchmark = benchmark


@contextmanager
def measuring() -> Iterator[None]:
    """Within the block operations that have no repeatable form may run, too.

    On CUDA some sums of the metrics and fits have none; `deterministic` is about the weights. Measuring takes
    memory that training does not need: after the block it may go back.
    """
    with _any_operation():
        yield
    give_back()


@contextmanager
def _any_operation() -> Iterator[None]:
    if not torch.are_deterministic_algorithms_enabled():
        yield
        return
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*deterministic.*")
            yield
    finally:
        torch.use_deterministic_algorithms(True)
