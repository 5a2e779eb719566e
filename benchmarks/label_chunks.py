"""Very many labels: the plain step against label chunks with the update inside the pass.

    python benchmarks/label_chunks.py                          # both cases, three rounds
    python benchmarks/label_chunks.py --case w5b --rounds 5

Cases:
    w5b       5,000 sparse features of which each row has 270, 100,000 labels of which each row has 5, linear
    million   512 dense features, 1,000,000 labels of which each row has 5, linear; only the chunks are run

Ways:
    plain     `objective` of mlc.training.objective, backward, fused Adam: what a bare loop does
    chunks    LabelChunks with the update inside the pass, Adam with float32 states: the same step
    light_adam, row_adagrad, adafactor    chunks with the memory-light optimisers

Each way runs in a process of its own, so that its peak memory is known; the ways take turns, round after
round. Times are medians over all rounds, by the wall's clock and the processor's: where a machine does other
things, only the second says what the work costs (OMP_WAIT_POLICY=PASSIVE keeps waiting out of it). The
traffic is what a step must move, at the bandwidth measured beside it.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from mlc.backbones.flatten import Flatten
from mlc.batch import Batch, LabelStatistics
from mlc.heads.sigmoid import SigmoidHead
from mlc.inputs import MAIN, InputSpec
from mlc.losses.binary_cross_entropy import BinaryCrossEntropy
from mlc.model import Network
from mlc.rows import LabelRows, SparseRows
from mlc.training.label_chunks import LabelChunks, cut_into_blocks, label_blocks
from mlc.training.label_layer import block_size
from mlc.training.label_update import BlockUpdate
from mlc.training.memory_light import Adafactor, LightAdam, RowAdagrad
from mlc.training.objective import objective

LABELS_PER_ROW = 5
WAYS = ("plain", "chunks", "light_adam", "row_adagrad", "adafactor")
BYTES_MOVED = {
    "chunks": 24,
    "light_adam": 16,
    "row_adagrad": 8,
    "adafactor": 8,
}  # per weight, read and written


@dataclass(frozen=True)
class Case:
    """Features, labels, and the entries of a sparse row (0: dense features)."""

    features: int
    labels: int
    entries: int
    ways: tuple[str, ...]


CASES = {
    "w5b": Case(5_000, 100_000, 270, WAYS),
    "million": Case(512, 1_000_000, 0, WAYS[1:]),
}


def batches(case: Case, rows: int, number: int) -> list[Batch]:
    """Random batches, always the same; their targets are sparse."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for _ in range(number):
        ids_M = torch.randint(case.labels, (rows * LABELS_PER_ROW,), generator=generator, dtype=torch.int32)
        start_B = torch.arange(rows) * LABELS_PER_ROW
        y = LabelRows(ids_M, start_B, torch.full((rows,), LABELS_PER_ROW), case.labels)
        x: Tensor | SparseRows
        if case.entries:
            noise_BD = torch.rand(rows, case.features, generator=generator)
            ids_M = noise_BD.topk(case.entries).indices.flatten().int()
            values_M = torch.rand(len(ids_M), generator=generator)
            length_B = torch.full((rows,), case.entries)
            x = SparseRows(ids_M, length_B.cumsum(0) - length_B, length_B, values_M, case.features)
        else:
            x = torch.randn(rows, case.features, generator=generator)
        made.append(Batch(inputs={MAIN: x}, y_BL=torch.empty(rows, 0), label_rows=y))
    return made


def statistics_of(labels: int) -> LabelStatistics:
    """As of 1,000 rows in which every label is true once."""
    return LabelStatistics(
        positives_L=torch.ones(labels, dtype=torch.float64),
        known_L=torch.full((labels,), 1e3, dtype=torch.float64),
        rows=1_000,
        single_label=False,
        count_histogram_K=torch.tensor([0, 0, 0, 0, 0, 1e3], dtype=torch.float64),
    )


def step_of(case: Case, way: str, chunk: int | None):
    """A function that takes one training step on a batch."""
    torch.manual_seed(0)
    labels = statistics_of(case.labels)
    spec = InputSpec("sparse" if case.entries else "numbers", (case.features,))
    head = SigmoidHead(in_features=case.features, labels=labels, prior_bias=True)
    network = Network(backbone=Flatten(inputs={MAIN: spec}), head=head)
    loss = BinaryCrossEntropy(
        labels=labels, positive_weight=1.0, max_positive_weight=100.0, label_weight="equal"
    )
    if way != "plain":
        cut_into_blocks(head, size=chunk or block_size(case.features, case.labels))
    parameters = list(network.parameters())
    optimizer = {
        "light_adam": lambda: LightAdam(
            params=parameters, lr=2e-3, betas=[0.9, 0.999], eps=1e-8, weight_decay=0.0
        ),
        "row_adagrad": lambda: RowAdagrad(params=parameters, lr=1e-2, eps=1e-10),
        "adafactor": lambda: Adafactor(
            params=parameters, lr=2e-3, decay_power=0.8, clip=1.0, weight_decay=0.0
        ),
    }.get(way, lambda: torch.optim.Adam(parameters, lr=2e-3, fused=True))()

    if way == "plain":

        def mean_of(batch: Batch) -> Tensor:
            assert batch.label_rows is not None
            y_BL = batch.label_rows[torch.arange(len(batch.label_rows))]
            return objective(network, loss, Batch(inputs=batch.inputs, y_BL=y_BL, all_known=True))
    else:
        update = BlockUpdate(optimizer, label_blocks(head))
        mean_of = LabelChunks(network, loss, precision="fp32", update=update)

    def step(batch: Batch) -> float:
        mean = mean_of(batch)
        mean.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return mean.item()

    return step


def work(case: Case, way: str, rows: int, steps: int, chunk: int | None) -> dict[str, object]:
    """Seconds of some steps after the first two, the loss, and the largest resident memory."""
    step = step_of(case, way, chunk)
    data = batches(case, rows, 2)
    losses = [step(data[i % 2]) for i in range(2)]
    seconds, cpu_seconds = [], []
    for i in range(steps):
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        losses.append(step(data[i % 2]))
        seconds.append(time.perf_counter() - start_s)
        cpu_seconds.append(time.process_time() - start_cpu_s)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "losses": losses, "peak": peak}


def rates() -> dict[str, float]:
    """Bytes read and written per second now, the best of some tries, by either clock."""
    numbers = torch.zeros(2**26)
    best = {"bytes_per_s": 0.0, "bytes_per_cpu_s": 0.0}
    for _ in range(10):
        for name, clock in (("bytes_per_s", time.perf_counter), ("bytes_per_cpu_s", time.process_time)):
            start_s = clock()
            numbers.mul_(1.0)
            best[name] = max(best[name], 8 * len(numbers) / (clock() - start_s))
    return best


def main() -> None:
    """Run the ways in turn and print medians, ratios first."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", choices=CASES, action="append")
    parser.add_argument("--way", choices=WAYS, action="append")
    parser.add_argument("--rows", type=int, default=128, help="batch size")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--chunk", type=int, help="labels of a block; else by the rule")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        case, way = args.worker
        if way == "rates":
            print(json.dumps(rates()))
        else:
            print(json.dumps(work(CASES[case], way, args.rows, args.steps, args.chunk)))
        return
    for name in args.case or CASES:
        _report(name, args)


def _report(name: str, args: argparse.Namespace) -> None:
    case = CASES[name]
    ways = [way for way in case.ways if not args.way or way in args.way]
    found: dict[str, list[dict[str, object]]] = {way: [] for way in ways}
    measured = []
    for _ in range(args.rounds):
        measured.append(_worker(name, "rates", args))
        for way in ways:
            found[way].append(_worker(name, way, args))
    move, cpu_move = (max(rate[clock] for rate in measured) for clock in ("bytes_per_s", "bytes_per_cpu_s"))
    print(f"\n{name}: {case.features:,} features, {case.labels:,} labels, batch {args.rows}", flush=True)
    print(f"at best {move / 1e9:.1f} GB/s moved, {cpu_move / 1e9:.1f} GB per second of the processor")
    print("way          x plain  (CPU)  memory     step      CPU  samples/s  peak MB  step/traffic  (CPU)")
    base: tuple[float, float, int] | None = None
    for way in ways:
        clocks = [[s for run in found[way] for s in run[clock]] for clock in ("seconds", "cpu_seconds")]
        step_s, cpu_s = map(statistics.median, clocks)
        peak = max(run["peak"] for run in found[way])
        base = base or (step_s, cpu_s, peak)
        moved = case.features * case.labels * BYTES_MOVED.get(way, 36)
        print(
            f"{way:12} {base[0] / step_s:7.2f} {base[1] / cpu_s:6.2f} {peak / base[2]:7.2f} {step_s:7.2f} s"
            f" {cpu_s:6.2f} s {args.rows / step_s:10.1f} {peak / 1e6:8.0f}"
            f" {step_s * move / moved:13.2f} {cpu_s * cpu_move / moved:6.2f}"
        )


def _worker(case: str, way: str, args: argparse.Namespace) -> dict:
    command = [sys.executable, __file__, "--worker", case, way, "--rows", str(args.rows)]
    command += ["--steps", str(args.steps), *(["--chunk", str(args.chunk)] if args.chunk else [])]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    print(case, way, done.stdout.strip(), file=sys.stderr, flush=True)
    result: dict = json.loads(done.stdout)
    return result


if __name__ == "__main__":
    main()
