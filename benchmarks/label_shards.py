"""Labels in shards: what each process holds, and what a step takes.

    python benchmarks/label_shards.py                                              # one process, in chunks
    python -m torch.distributed.run --nproc-per-node=2 benchmarks/label_shards.py  # labels in shards

256 features from a layer that learns, 200,000 labels of which each row has 5, Adam, batches of 128 rows. Each
process prints the largest resident memory of its steps and of a checkpoint (without the file), above what it
had before the network was made, and the median seconds of a step; Linux only.
"""

import argparse
import statistics
import time
from contextlib import ExitStack

import torch

from mlc.backbones.mlp import MLP
from mlc.batch import Batch, LabelStatistics
from mlc.eager_optimizer import eager
from mlc.heads.sigmoid import SigmoidHead
from mlc.inputs import MAIN, InputSpec
from mlc.losses.binary_cross_entropy import BinaryCrossEntropy
from mlc.model import Network
from mlc.rows import LabelRows
from mlc.training import processes
from mlc.training.label_chunk_check import cut_labels
from mlc.training.schedules import Constant
from mlc.training.session import Session
from mlc.training.settings import TrainerSettings

LABELS_PER_ROW = 5


def session_of(features: int, n_labels: int, rows: int) -> Session:
    """A network with a hidden layer as wide as its input."""
    torch.manual_seed(0)
    labels = LabelStatistics(
        positives_L=torch.ones(n_labels, dtype=torch.float64),
        known_L=torch.full((n_labels,), 1e3, dtype=torch.float64),
        rows=1_000,
        single_label=False,
        count_histogram_K=torch.tensor([0, 0, 0, 0, 0, 1e3], dtype=torch.float64),
    )
    inputs = {MAIN: InputSpec("numbers", (features,))}
    backbone = MLP(inputs=inputs, widths=[features], input_dropout=0.0, dropout=0.0, norm="layer")
    head = SigmoidHead(in_features=features, labels=labels, prior_bias=True)
    network = Network(backbone=backbone, head=head)
    sharded = processes.size() > 1
    cut_labels(network, "auto", sharded=sharded)
    optimizer = eager(torch.optim.Adam)(network.parameters(), lr=2e-3, fused=True)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return Session(
        network=network,
        loss=BinaryCrossEntropy(
            labels=labels, positive_weight=1.0, max_positive_weight=100.0, label_weight="equal"
        ),
        optimizer=optimizer,
        schedule=Constant(warmup_epochs=0.0),
        settings=TrainerSettings(
            max_epochs=1,
            batch_size=rows,
            eval_batch_size=rows,
            device="cpu",
            precision="fp32",
            clip_norm=None,
            sampling="all",
            monitor="loss",
            patience=None,
            log_every_steps=20,
            separate_fit=False,
            memory_limit_mb=1024,
            label_chunk="auto",
            label_shards=sharded,
        ),
        seed=0,
        device="cpu",
    )


def batch_of(features: int, n_labels: int, rows: int) -> Batch:
    """The own rows of a random batch."""
    generator = torch.Generator().manual_seed(1 + processes.rank())
    ids_M = torch.randint(n_labels, (rows * LABELS_PER_ROW,), generator=generator, dtype=torch.int32)
    y = LabelRows(ids_M, torch.arange(rows) * LABELS_PER_ROW, torch.full((rows,), LABELS_PER_ROW), n_labels)
    x_BD = torch.randn(rows, features, generator=generator)
    return Batch(inputs={MAIN: x_BD}, y_BL=torch.empty(rows, 0), label_rows=y)


def memory(name: str) -> float:
    """Megabytes: VmRSS now, or VmHWM, the most since `forget_most`."""
    with open("/proc/self/status") as status:
        lines = dict(line.split(":", 1) for line in status)
    return int(lines[name].split()[0]) / 1e3


def forget_most() -> None:
    """Let VmHWM begin again at what is resident now."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def main() -> None:
    """Measure, and print a line for each process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--features", type=int, default=256)
    parser.add_argument("--labels", type=int, default=200_000)
    parser.add_argument("--rows", type=int, default=128, help="batch size, of all processes together")
    parser.add_argument("--steps", type=int, default=5)
    args = parser.parse_args()
    with ExitStack() as stack:
        stack.enter_context(processes.joined())
        before = memory("VmRSS")
        session = session_of(args.features, args.labels, args.rows)
        start = memory("VmHWM") - before
        batch = batch_of(args.features, args.labels, args.rows // processes.size())
        forget_most()
        seconds = []
        for _ in range(1 + args.steps):
            start_s = time.perf_counter()
            session.stepper.begin()
            with session.gradients_shared(now=True):
                loss, _ = session.part(batch, share=1 / processes.size())
                session.stepper.backward(loss)
            session.stepper.step()
            seconds.append(time.perf_counter() - start_s)
        steps = memory("VmHWM") - before
        forget_most()
        state = session.state()
        checkpoint = memory("VmHWM") - before
        del state
        print(
            f"process {processes.rank()} of {processes.size()}: start {start:,.0f} MB, "
            f"steps {steps:,.0f} MB, checkpoint {checkpoint:,.0f} MB; "
            f"{statistics.median(seconds[1:]):.3f} s a step",
            flush=True,
        )


if __name__ == "__main__":
    main()
