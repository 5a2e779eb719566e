"""The project, with everything a user has on: metrics, TensorBoard, checkpoints, progress.

It goes the way of `python -m mlc.train`, words on the command line and all; only the tensors come from here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import data
from benchmarks.meter import Meter
from benchmarks.ways import arguments
from benchmarks.workloads import Tensors, Workload
from mlc.batch import BatchInput
from mlc.data.dataset import Dataset, Split
from mlc.data.text.encoder import TextEncoder
from mlc.experiment.assemble import make_job
from mlc.experiment.command_line import quote_verbatim
from mlc.experiment.compose import compose_runs
from mlc.experiment.recipe import read_recipe
from mlc.inputs import InputSpec
from mlc.rows import SparseRows, TokenRows
from mlc.training.run import run
from mlc.training.step import Stepper


@dataclass(frozen=True)
class Synthetic:
    """The data of a workload as a data source of `mlc`."""

    workload: Workload
    folder: Path

    def load(
        self, *, seed: int, text: TextEncoder | None = None, preparation: Mapping[str, Tensor] | None = None
    ) -> Dataset:
        """The splits; the validation rows are the test rows, too."""
        splits = {
            name: _split(self.workload, tensors)
            for name, tensors in data.load(self.workload, self.folder).items()
        }
        return Dataset(
            name=self.workload.name,
            label_names=tuple(f"l{i}" for i in range(self.workload.labels)),
            train=splits["train"],
            valid=splits["valid"],
            test=splits["valid"],
            preparation={"text.none": torch.zeros(0)} if self.workload.name == "W4" else {},
        )

    def read_inputs(
        self, path: Path, *, preparation: Mapping[str, Tensor], chunk_rows: int
    ) -> Iterator[Mapping[str, BatchInput]]:
        """Nothing is predicted here."""
        raise NotImplementedError


def _split(workload: Workload, tensors: Tensors) -> Split:
    x, y = tensors["x"], tensors["y"]
    rows = len(x)
    match workload.name:
        case "W4":
            start_N, length_N = _equal_pieces(rows, x.shape[1])
            spec = InputSpec("tokens", (x.shape[1],), vocabulary=10_000, padding=0)
            tokens = TokenRows(x.flatten().int(), start_N, length_N, spec)
            return Split({"x": tokens, "side": tensors["side"]}, y)
        case "W5":
            words = SparseRows(
                x.flatten().int(), *_equal_pieces(rows, x.shape[1]), tensors["values"].flatten(), 5_000
            )
            return Split({"x": words}, y)
        case _:
            return Split({"x": x}, y)


def _equal_pieces(rows: int, length: int) -> tuple[Tensor, Tensor]:
    """Where each row starts in a flat tensor, and how long it is."""
    return torch.arange(rows) * length, torch.full((rows,), length)


def _count_steps(meter: Meter) -> None:
    """Tell the meter of every step; those of `mlc` run none of torch's hooks."""
    take = Stepper.step

    def step(self: Stepper) -> Tensor:
        bad = take(self)
        meter.step()
        return bad

    Stepper.step = step  # type: ignore[method-assign]


def main() -> None:
    """Train until the meter ends the process."""
    given = arguments.read()
    _count_steps(Meter(given.workload, given.device))

    def start(config: dict[str, Any], folder: Path) -> None:
        recipe = replace(read_recipe(config), source=Synthetic(given.workload, given.data))
        run(make_job(recipe, folder, fresh=True), found=None)

    words = [
        *given.workload.overrides,
        f"hydra.run.dir={given.scratch}",
        f"trainer.device={given.device}",
        "trainer.max_epochs=100000",
        "trainer.patience=null",
        *given.rest,
    ]
    compose_runs(quote_verbatim(words), start)


if __name__ == "__main__":
    main()
