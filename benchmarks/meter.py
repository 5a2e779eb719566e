"""What a contender's process measures, and how it takes turns with the others.

Contenders train side by side on the same cores, so they never run at the same time: a process trains its
warm-up, says "ready", and waits. At each "go" it trains one turn of steps and reports what they took. So two
measurements that are compared lie within seconds of each other, whatever else the machine does.

The clocks are read after optimiser steps, at the same places for everyone: the wall's and the processor's,
because on a machine that does other things only the second says what the work costs.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from benchmarks.workloads import Workload

WARM_STEPS = 30


class Meter:
    """Told of every optimiser step; ends the process when the other end says "stop".

    Args:
        workload: whose steps these are.
        device: "cpu" or "cuda"; CUDA is waited for at the ends of what is measured.
    """

    def __init__(self, workload: Workload, device: str):
        self._workload, self._device = workload, device
        self._synchronise: Callable[[], None] = torch.cuda.synchronize if device != "cpu" else _nothing
        self._channel = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # whatever else is printed goes to the standard error
        self._done = 0
        self._begin = self._end = 0
        self._times: dict[int, tuple[float, float]] = {}
        warm = max(WARM_STEPS, workload.turn_steps)
        if workload.turn_steps % workload.steps_per_epoch == 0:  # turns of whole epochs begin with an epoch
            warm = workload.turn_steps + 1
        self._ask_at = warm

    def step(self, *_: object) -> None:
        """One optimiser step has been taken."""
        self._done += 1
        done = self._done
        if done == 1:
            self._synchronise()
            self._say(first_step_s=time.monotonic())
        if done == self._end:
            self._synchronise()
            self._times[done] = _clocks()
            self._report()
            self._ask_at = done
        elif self._begin < done < self._end and done % self._workload.steps_per_epoch < 2:
            self._synchronise()
            self._times[done] = _clocks()
        if done == self._ask_at:
            self._ask()

    def _ask(self) -> None:
        """Wait for the next turn."""
        self._say(ready=True, peak_mb=self._peak_mb())
        if sys.stdin.readline().strip() != "go":
            os._exit(0)  # what else the contender does at its end is not measured
        self._begin, self._end = self._done, self._done + self._workload.turn_steps
        self._synchronise()
        self._times = {self._done: _clocks()}

    def _peak_mb(self) -> float:
        """The largest memory until now: resident, or what torch has taken of the GPU's."""
        if self._device != "cpu":
            return torch.cuda.max_memory_allocated() / 2**20
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    def _report(self) -> None:
        per_epoch, samples = self._workload.steps_per_epoch, self._workload.samples
        marks = sorted(self._times)
        steady_s, steady_cpu_s, steady = 0.0, 0.0, 0
        for first, last in pairwise(marks):
            if first % per_epoch:  # else this stretch is the end of an epoch and what comes with it
                wall_s, cpu_s = (b - a for a, b in zip(self._times[first], self._times[last], strict=True))
                steady_s, steady_cpu_s = steady_s + wall_s, steady_cpu_s + cpu_s
                steady += sum(samples(step) for step in range(first + 1, last + 1))
        whole_s = self._times[self._end][0] - self._times[self._begin][0]
        whole = sum(samples(step) for step in range(self._begin + 1, self._end + 1))
        self._say(
            steady_per_s=steady / steady_s,
            steady_per_cpu_s=steady / steady_cpu_s,
            whole_per_s=whole / whole_s,
        )

    def _say(self, **message: Any) -> None:
        print(json.dumps(message), file=self._channel, flush=True)


def count_torch_steps(meter: Meter) -> None:
    """Tell the meter of every step of every torch optimiser."""
    register_optimizer_step_post_hook(meter.step)


def _clocks() -> tuple[float, float]:
    """Seconds on the wall, and of processor time of all threads."""
    return time.perf_counter(), time.process_time()


def _nothing() -> None:
    pass
