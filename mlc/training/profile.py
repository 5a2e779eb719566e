"""A record of a few training steps by PyTorch's profiler."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mlc.training.settings import TrainerSettings

_SKIPPED, _WARM_UP = 1, 1  # the first steps pay for what later ones find done
NOT_RECORDED = _SKIPPED + _WARM_UP


@contextmanager
def profiled(
    settings: TrainerSettings, *, folder: Path, tell: Callable[[str], None]
) -> Iterator[Callable[[], None]]:
    """Record `profile_steps` steps; gives what is to be called after every step.

    The trace lies in `folder`, where TensorBoard's profiler plugin and https://ui.perfetto.dev read it.

    The steps may be of several epochs; the validation between them then stands in the trace, too. Where the
    run ends before, there are fewer.

    Args:
        settings: how many steps; None records nothing.
        folder: of the trace.
        tell: is given the table of the costliest operations.
    """
    if settings.profile_steps is None:
        yield lambda: None
        return
    import torch
    from torch.profiler import profile, schedule, tensorboard_trace_handler

    write = tensorboard_trace_handler(str(folder))

    def ready(recorded: profile) -> None:
        write(recorded)
        by = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        tell(recorded.key_averages().table(sort_by=by, row_limit=15, max_name_column_width=40))

    plan = schedule(wait=_SKIPPED, warmup=_WARM_UP, active=settings.profile_steps, repeat=1)
    # What writes the trace says on the terminal that it starts and stops, above every other level; it looks
    # at its level once, when it is first used.
    with _default("KINETO_LOG_LEVEL", "6"), profile(schedule=plan, on_trace_ready=ready) as recording:
        yield recording.step


@contextmanager
def _default(variable: str, value: str) -> Iterator[None]:
    """The environment with this variable, where the user has not set it."""
    if variable in os.environ:
        yield
        return
    os.environ[variable] = value
    try:
        yield
    finally:
        del os.environ[variable]
