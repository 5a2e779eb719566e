"""What torch.compile has cost and saved in a run. It is said at the end, and decides nothing."""

import time
from collections.abc import Callable
from typing import NamedTuple

import torch

from mlc.data.dataset import Split
from mlc.training import feeding, processes
from mlc.training.session import Session

_TRIES = 10


class Times(NamedTuple):
    """Seconds of forward and backward of one batch, the least of a few tries."""

    compiled: float
    eager: float


def compile_sentence(session: Session, train: Split, *, steps: int) -> str:
    """What it took to compile, what a step takes with it and without, and whether it has paid so far.

    Both are measured on the same rows, in turn. Nothing that training needs is changed by that.

    Args:
        session: after its last step.
        train: on the session's device or the host.
        steps: that have been taken since the network was compiled.
    """
    settings, seconds = session.settings, _seconds_of_compiling()
    if settings.label_chunk is not None or processes.size() > 1:
        return f"trainer.compile={settings.compile}: compiling took {seconds:.1f} s"
    parts = -(-settings.batch_size // (settings.micro_batch_size or settings.batch_size))
    return describe(str(settings.compile), seconds, _times(session, train), steps=steps * parts)


def describe(mode: str, compiling: float, times: Times, *, steps: int) -> str:
    """One sentence.

    Args:
        mode: of torch.compile.
        compiling: seconds.
        times: of a step.
        steps: that were taken.
    """
    saved = steps * (times.eager - times.compiled) - compiling
    verdict = (
        f"it has saved {saved:.1f} s"
        if saved > 0
        else f"it has cost {-saved:.1f} s more than it saved: trainer.compile=null is faster for such a run"
    )
    return (
        f"trainer.compile={mode}: compiling took {compiling:.1f} s; forward and backward of a batch take "
        f"{1000 * times.compiled:.3g} ms, and {1000 * times.eager:.3g} ms without it; "
        f"in {steps} steps {verdict}"
    )


def _times(session: Session, train: Split) -> Times:
    settings, network = session.settings, session.network
    rows_B = torch.arange(min(len(train), settings.micro_batch_size or settings.batch_size))
    (batch,) = feeding.batches(train, [rows_B], session.device)
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    cuda = [] if session.device == "cpu" else [torch.device(session.device)]
    was_training = network.training

    def step() -> None:
        session.objective(batch).backward()
        network.zero_grad()

    taken = []
    with torch.random.fork_rng(devices=cuda):
        network.train()
        for _ in range(1 + _TRIES):  # the first may compile
            compiled = _seconds(step, session.device)
            with torch.compiler.set_stance("force_eager"):
                taken.append(Times(compiled, _seconds(step, session.device)))
    network.train(was_training)
    for buffer, before in buffers:
        buffer.copy_(before)
    return Times(*(min(tries) for tries in zip(*taken[1:], strict=True)))


def _seconds(step: Callable[[], None], device: str) -> float:
    start_s = _now(device)
    step()
    return _now(device) - start_s


def _now(device: str) -> float:
    if device != "cpu":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _seconds_of_compiling() -> float:
    """As torch itself has counted them in this process, forward and backward."""
    from torch._dynamo.utils import calculate_time_spent  # imports the compiler

    return float(calculate_time_spent()["total_wall_time"])
