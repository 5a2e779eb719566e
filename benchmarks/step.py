"""Where the time of one step goes: the pieces of a W1 step, of the bare loop and of `mlc`, in turn.

    OMP_NUM_THREADS=1 python -m benchmarks.step

Processor time of the main thread, which hardly depends on what else the machine does; medians of rounds in
which every piece has some turns, in random order.
"""

import argparse
import itertools
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import data, networks
from benchmarks.ways.mlc_loop import Synthetic
from benchmarks.workloads import WORKLOADS
from mlc.experiment.assemble import make_job
from mlc.experiment.command_line import quote_verbatim
from mlc.experiment.compose import compose_runs
from mlc.experiment.recipe import read_recipe
from mlc.training import feeding, loop
from mlc.training.job import Job
from mlc.training.run import make_session

TURNS = 20  # of a piece in a round
WORKLOAD = WORKLOADS["W1"]

Pieces = Mapping[str, Callable[[], Any]]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.step",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=60)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        data.make(WORKLOAD, folder)
        tensors = data.load(WORKLOAD, folder)["train"]
        pieces = {"bare": _bare(tensors), "mlc": _mlc(folder)}
        medians = _measure(
            {(way, name): turn for way in pieces for name, turn in pieces[way].items()}, rounds
        )
    print("| W1, µs of a step, each with what stands above it | bare | mlc |\n|---|---|---|")
    for name in pieces["mlc"]:
        cells = (f"{medians[way, name]:,.0f}" if name in pieces[way] else "" for way in pieces)
        print(f"| {name} | {' | '.join(cells)} |")


def _measure(
    pieces: Mapping[tuple[str, str], Callable[[], Any]], rounds: int
) -> dict[tuple[str, str], float]:
    """Medians in µs."""
    taken: dict[tuple[str, str], list[float]] = {name: [] for name in pieces}
    for number in range(rounds + 1):
        for name in random.sample(list(pieces), len(pieces)):
            start_s = time.thread_time()
            for _ in range(TURNS):
                pieces[name]()
            if number:  # the first round warms up
                taken[name].append((time.thread_time() - start_s) / TURNS * 1e6)
    return {name: statistics.median(times) for name, times in taken.items()}


def _rows() -> Iterator[Tensor]:
    """Rows of whole batches, again and again."""
    batches = torch.randperm(WORKLOAD.rows).split(WORKLOAD.batch)
    return itertools.cycle(rows_B for rows_B in batches if len(rows_B) == WORKLOAD.batch)


def _bare(tensors: Mapping[str, Tensor]) -> Pieces:
    rows = _rows()
    x_ND, y_NL = tensors["x"], tensors["y"]
    network = networks.make(WORKLOAD)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)

    def select() -> tuple[Tensor, Tensor]:
        rows_B = next(rows)
        return x_ND[rows_B], y_NL[rows_B]

    def forward() -> tuple[Tensor, Tensor]:
        x_BD, y_BL = select()
        return network(x_BD), y_BL

    def loss() -> Tensor:
        return networks.objective(*forward())

    def step() -> None:
        value = loss()
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return {"select rows": select, "forward": forward, "loss": loss, "backward and optimiser": step}


def _mlc(folder: Path) -> Pieces:
    job = _job(folder)
    session, train = make_session(job), job.dataset.train
    rows = _rows()
    feed = feeding.batches(train, _rows(), session.device)
    watch = loop._Watch(session, _silent())
    session.network.train()
    session.position.batch = 1

    def forward() -> object:
        return session.network.training_outputs(next(feed).inputs)

    def loss() -> Tensor:
        return session.objective(next(feed))

    def step() -> None:
        loss().backward()  # type: ignore[no-untyped-call]
        session.optimizer.step()
        session.optimizer.zero_grad()

    def checked() -> tuple[Tensor, Tensor | bool]:
        rows_B = next(rows)
        return loop._step(session, feed, rows_B, [rows_B])

    def whole() -> None:
        rows_B = next(rows)
        session.set_rate(0.5)
        mean, bad = loop._step(session, feed, rows_B, [rows_B])
        watch.add(rows_B, mean, bad, last=False)

    return {
        "select rows": lambda: next(feed),
        "forward": forward,
        "loss": loss,
        "backward and optimiser": step,
        "finite or left out": checked,
        "learning rate, sums": whole,
    }


def _job(folder: Path) -> Job:
    """The job of the command line of the workload, on its tensors."""
    jobs: list[Job] = []

    def take(config: dict[str, Any], run_folder: Path) -> None:
        recipe = replace(read_recipe(config), source=Synthetic(WORKLOAD, folder))
        jobs.append(make_job(recipe, run_folder, fresh=True))

    words = [*WORKLOAD.overrides, f"hydra.run.dir={folder / 'run'}", "trainer.device=cpu"]
    compose_runs(quote_verbatim(words), take)
    return jobs[0]


def _silent() -> loop.Callbacks:
    def nothing(*_: object) -> None:
        return None

    return loop.Callbacks(
        validate=lambda: {}, report=nothing, bad_step=nothing, after_step=nothing, epoch=nothing
    )


if __name__ == "__main__":
    main()
