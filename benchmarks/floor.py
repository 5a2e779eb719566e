"""The physical floor: how fast this machine multiplies and copies, and what each workload takes at that rate.

    python -m benchmarks.floor

Each rate is the best of many short tries, because other work on the machine can only make it look slower. The
floor of a step is the larger of FLOPs / rate and bytes / bandwidth, summed over the kinds of work that cannot
overlap (layers, then the optimiser), plus the dispatch of its operations where these are tiny.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from benchmarks import hardware, networks
from benchmarks.workloads import WORKLOADS, Workload

_TRY_S = 0.02


@dataclass(frozen=True)
class Rates:
    """What this machine can do.

    Args:
        fp32, bf16: FLOP per second of a large matrix product.
        copy: bytes per second read and written by a large copy, both counted.
        dispatch_s: seconds of an operation on a single number.
    """

    fp32: float
    bf16: float
    copy: float
    dispatch_s: float


def fastest_s(work: Callable[[], object], device: str, tries: int = 15) -> float:
    """Seconds of one call, the fastest of several tries of about 20 ms each."""
    wait: Callable[[], object] = torch.cuda.synchronize if device == "cuda" else lambda: None
    work()
    wait()
    start = time.perf_counter()
    work()
    wait()
    once_s = max(time.perf_counter() - start, 1e-7)
    calls = max(1, int(_TRY_S / once_s))
    tries = max(2, min(tries, int(3 / once_s)))
    best = float("inf")
    for _ in range(tries):
        start = time.perf_counter()
        for _ in range(calls):
            work()
        wait()
        best = min(best, (time.perf_counter() - start) / calls)
    return best


def measure(device: str) -> Rates:
    """The rates of a device."""
    side = 8192 if device == "cuda" else 1024
    flop = 2 * side**3
    rates = {}
    for dtype in (torch.float32, torch.bfloat16):
        a = torch.randn(side, side, device=device).to(dtype)
        rates[dtype] = flop / fastest_s(lambda a=a: a @ a, device)
    source = torch.ones(2**27 if device == "cuda" else 2**25, device=device)
    target = torch.empty_like(source)
    copied = 2 * source.numel() * source.element_size()
    one = torch.ones((), device=device)
    return Rates(
        fp32=rates[torch.float32],
        bf16=rates[torch.bfloat16],
        copy=copied / fastest_s(lambda: target.copy_(source), device),
        dispatch_s=fastest_s(lambda: one.add_(1), device),
    )


@dataclass(frozen=True)
class Cost:
    """What one step of a workload costs at least.

    Args:
        flop: of the products, forward and backward.
        read: bytes that the layers must move beside the products: gathered rows, their gradients.
        parameters: weights; Adam reads weight, gradient and two states, and writes three of them.
        operations: kernels that are started, forward, backward and optimiser together.
    """

    flop: float
    read: float
    parameters: int
    operations: int

    def seconds(self, rates: Rates) -> tuple[float, float, float, float]:
        """Seconds of products, of moved bytes, of Adam, of dispatch."""
        return (
            self.flop / rates.fp32,
            self.read / rates.copy,
            self.parameters * 4 * 7 / rates.copy,
            self.operations * rates.dispatch_s,
        )


# Kernels of a step of the bare loop, estimated from its layers and not counted.
_OPERATIONS = {"W1": 100, "W2": 130, "W3": 100, "W4": 180, "W5": 60}


def cost(workload: Workload) -> Cost:
    """From the shapes alone."""
    network = networks.make(workload)
    parameters = sum(p.numel() for p in network.parameters())
    rows, moved = workload.batch, 0.0
    match workload.name:
        case "W1" | "W2":
            flop = 3 * 2 * rows * parameters  # forward, gradient of the weights, gradient of the inputs
        case "W3":
            first, second = 9 * 1 * 32 * 28 * 56, 9 * 32 * 64 * 14 * 28
            flop = 2 * rows * (2 * first + 3 * second)  # pictures need no gradient
            maps = 4 * rows * (32 * 28 * 56 + 64 * 14 * 28)
            moved = maps * 3 * 4  # convolution, norm and ReLU each read and write their map, twice over
        case "W4":
            gates = 4 * 32
            flop = 3 * 2 * rows * 100 * gates * (512 + 32)
            moved = 4 * (
                rows * 100 * 512 * 6 + 2 * 10_000 * 512
            )  # rows looked up and added; gradient cleared
        case _:
            flop = 2 * 2 * rows * 270 * workload.labels
            moved = 4 * (2 * rows * 270 * workload.labels + 2 * parameters + 8 * rows * workload.labels)
    return Cost(flop, moved, parameters, _OPERATIONS[workload.name])


def table(rates: Rates) -> str:
    """The floors of all workloads, in Markdown."""
    lines = [
        "| | products | moved bytes | Adam | dispatch | floor, ms a step | samples/s at the floor |",
        "|---|---|---|---|---|---|---|",
    ]
    for workload in WORKLOADS.values():
        parts = cost(workload).seconds(rates)
        whole = max(sum(parts[:3]), parts[3])
        cells = " | ".join(f"{1000 * part:.2f}" for part in (*parts, whole))
        lines.append(f"| {workload.name} | {cells} | {workload.batch / whole:,.0f} |")
    return "\n".join(lines)


def sentence(rates: Rates) -> str:
    """The rates in words."""
    return (
        f"matrix products fp32 {rates.fp32 / 1e9:,.0f} GFLOP/s, bf16 {rates.bf16 / 1e9:,.1f} GFLOP/s; "
        f"copy {rates.copy / 1e9:.0f} GB/s; an operation on one number {1e6 * rates.dispatch_s:.1f} µs"
    )


def main() -> None:
    """Measure, and print the floors."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    device = parser.parse_args().device
    rates = measure(device)
    print(hardware.describe(device, torch.get_num_threads()))
    print(sentence(rates))
    print(table(rates))


if __name__ == "__main__":
    main()
