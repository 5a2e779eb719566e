"""Very many labels: the plain step against label chunks with the update inside the pass.

    python -m benchmarks.label_chunks                          # all cases, three rounds
    python -m benchmarks.label_chunks --case w5b --rounds 5

Cases:
    w5b           5,000 sparse features of which each row has 270, 100,000 labels, batches of 128 rows
    million       512 dense features, 1,000,000 labels, batches of 128 rows; only the chunks are run
    million_few   the same with batches of 8 rows, so that memory and not arithmetic is what a step costs
    The layer is linear, and each row has 5 labels.

Ways:
    plain     `objective` of mlc.training.objective, backward, fused Adam: what a bare loop does
    chunks    LabelChunks with the update inside the pass, Adam with float32 states: the same step
    light_adam, row_adagrad, adafactor    chunks with the memory-light optimisers

Each way runs in a process of its own, so that its peak memory is known; the ways take turns, round after
round. Times are medians over all rounds, by the wall's clock and the processor's: where a machine does other
things, only the second says what the work costs (OMP_WAIT_POLICY=PASSIVE keeps waiting out of it).

The traffic is what a step must move, at the rate at which memory is copied; the floor is the traffic and the
products, at the rate of a large product. Both rates are measured beside the steps.
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
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import floor
from benchmarks.contest import ROOT
from mlc.backbones.flatten import Flatten
from mlc.batch import Batch, LabelStatistics
from mlc.eager_optimizer import eager
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
}  # per weight, read and written; the plain step 36


@dataclass(frozen=True)
class Case:
    """Features, labels, the entries of a sparse row (0: dense features), rows of a batch."""

    features: int
    labels: int
    entries: int
    rows: int
    ways: tuple[str, ...]

    @property
    def flop(self) -> float:
        """Of a step's products: forward, and gradient of the weights; the features are data."""
        return 2 * 2 * self.rows * (self.entries or self.features) * self.labels


CASES = {
    "w5b": Case(5_000, 100_000, 270, 128, WAYS),
    "million": Case(512, 1_000_000, 0, 128, WAYS[1:]),
    "million_few": Case(512, 1_000_000, 0, 8, WAYS[1:]),
}


def batches(case: Case, number: int) -> list[Batch]:
    """Random batches, always the same; their targets are sparse."""
    rows = case.rows
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
        "plain": lambda: torch.optim.Adam(parameters, lr=2e-3, fused=True),
    }.get(way, lambda: eager(torch.optim.Adam)(parameters, lr=2e-3, fused=True))()

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


def work(case: Case, way: str, steps: int, chunk: int | None) -> dict[str, object]:
    """Seconds of some steps after the first two, the loss, and the largest resident memory."""
    step = step_of(case, way, chunk)
    data = batches(case, 2)
    losses = [step(data[i % 2]) for i in range(2)]
    seconds, cpu_seconds = [], []
    for i in range(steps):
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        losses.append(step(data[i % 2]))
        seconds.append(time.perf_counter() - start_s)
        cpu_seconds.append(time.process_time() - start_cpu_s)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "losses": losses, "peak": peak}


def main() -> None:
    """Run the ways in turn and print medians, ratios first."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", choices=CASES, action="append")
    parser.add_argument("--way", choices=WAYS, action="append")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--chunk", type=int, help="labels of a block; else by the rule")
    parser.add_argument("--json", type=Path, help="where the numbers are to be written")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        case, way = args.worker
        result = (
            vars(floor.measure("cpu")) if way == "rates" else work(CASES[case], way, args.steps, args.chunk)
        )
        print(json.dumps(result))
        return
    found = {name: _report(name, args) for name in args.case or CASES}
    if args.json:
        args.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


def _report(name: str, args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """The numbers of each way, which are printed, too."""
    case = CASES[name]
    ways = [way for way in case.ways if not args.way or way in args.way]
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    measured = []
    for _ in range(args.rounds):
        measured.append(_worker(name, "rates", args))
        for way in ways:
            found[way].append(_worker(name, way, args))
    copy, fp32 = (max(rate[key] for rate in measured) for key in ("copy", "fp32"))
    print(f"\n{name}: {case.features:,} features, {case.labels:,} labels, batch {case.rows}", flush=True)
    print(f"at best {copy / 1e9:.1f} GB/s copied, products at {fp32 / 1e9:.0f} GFLOP/s")
    print(
        "way          x plain  (CPU)  memory     step      CPU  samples/s  peak MB  step/traffic  step/floor"
    )
    rows: dict[str, dict[str, float]] = {}
    for way in ways:
        step_s, cpu_s = (
            statistics.median([s for run in found[way] for s in run[clock]])
            for clock in ("seconds", "cpu_seconds")
        )
        peak = max(run["peak"] for run in found[way])
        base = rows[ways[0]] if rows else {"step_s": step_s, "cpu_s": cpu_s, "peak_mb": peak / 1e6}
        traffic_s = case.features * case.labels * BYTES_MOVED.get(way, 36) / copy
        rows[way] = {
            "speed": base["step_s"] / step_s,
            "cpu_speed": base["cpu_s"] / cpu_s,
            "memory": peak / 1e6 / base["peak_mb"],
            "step_s": step_s,
            "cpu_s": cpu_s,
            "samples_per_s": case.rows / step_s,
            "peak_mb": peak / 1e6,
            "per_traffic": step_s / traffic_s,
            "per_floor": step_s / (traffic_s + case.flop / fp32),
        }
        print(_line(way, rows[way]), flush=True)
    return rows


def _line(way: str, row: dict[str, float]) -> str:
    formats = ("7.2f", "6.2f", "7.2f", "6.2f", "6.2f", "8.1f", "8.0f", "13.2f", "11.2f")
    cells = [f"{value:{form}}" for value, form in zip(row.values(), formats, strict=True)]
    cells[3], cells[4] = f"{cells[3]} s", f"{cells[4]} s"
    return f"{way:12} {' '.join(cells)}"


def _worker(case: str, way: str, args: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.label_chunks", "--worker", case, way]
    command += ["--steps", str(args.steps), *(["--chunk", str(args.chunk)] if args.chunk else [])]
    done = subprocess.run(
        command, capture_output=True, text=True, env=dict(os.environ), cwd=ROOT, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    print(case, way, done.stdout.strip(), file=sys.stderr, flush=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


if __name__ == "__main__":
    main()
