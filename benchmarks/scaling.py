"""Does cost grow linearly in rows, labels and epochs? Three decades of each, timed and drawn.

    python -m benchmarks.scaling        # `make bench-scaling`

Each point is a whole run of `mlc` without its start: training, validation after each epoch, checkpoints,
TensorBoard, calibration, test metrics, files. Along one axis the other two stay as they are. The slope of the
last decade in log-log is 1 where cost is linear, more where it grows faster, and less where what is fixed
still counts: far below 1 a decade shows nothing.
"""

import argparse
import contextlib
import csv
import io
import json
import math
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.contest import ROOT
from mlc.data.dataset import Dataset, Split
from mlc.data.text.encoder import TextEncoder
from mlc.experiment.assemble import make_job
from mlc.experiment.compose import compose_runs
from mlc.experiment.recipe import read_recipe
from mlc.experiment.shipped import Config
from mlc.training.run import run

_RESULTS = ROOT / "benchmarks" / "results"
_AXES = {
    "rows": (1_000, 10_000, 100_000, 1_000_000),
    "labels": (100, 1_000, 10_000, 100_000),
    "epochs": (1, 10, 100, 1_000),
}
_FIXED = {"rows": 3_000, "labels": 30, "epochs": 3}
_FEATURES = 50


@dataclass(frozen=True)
class MadeUp:
    """Random rows as a data source."""

    rows: int
    labels: int

    def load(
        self, *, seed: int, text: TextEncoder | None = None, preparation: Mapping[str, Tensor] | None = None
    ) -> Dataset:
        """Training rows, and a fifth as many for validation and for testing; three labels a row."""
        generator = torch.Generator().manual_seed(0)
        weights_DL = torch.randn(_FEATURES, self.labels, generator=generator)

        def split(rows: int) -> Split:
            x_ND = torch.randn(rows, _FEATURES, generator=generator)
            top_NK = (x_ND @ weights_DL).topk(3, dim=1).indices
            return Split({"x": x_ND}, torch.zeros(rows, self.labels).scatter_(1, top_NK, 1.0))

        train, valid, test = (split(rows) for rows in (self.rows, self.rows // 5, self.rows // 5))
        names = tuple(f"l{i}" for i in range(self.labels))
        return Dataset("made_up", names, train, valid, test, preparation={})

    def read_inputs(self, path: Path, *, preparation: Mapping[str, Tensor], chunk_rows: int) -> Any:
        """Nothing is predicted here."""
        raise NotImplementedError


def seconds(point: Mapping[str, int], device: str) -> float:
    """Seconds of a whole run, its start and its data left out."""
    taken = 0.0

    def start(config: Config, folder: Path) -> None:
        nonlocal taken
        recipe = replace(read_recipe(config), source=MadeUp(point["rows"], point["labels"]))
        job = make_job(recipe, folder, fresh=True)
        start_s = time.perf_counter()
        run(job, found=None)
        taken = time.perf_counter() - start_s

    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(io.StringIO()):
        words = [
            "backbone=mlp",
            "backbone.widths=[128]",
            "trainer=table",
            "trainer.batch_size=256",
            "trainer.patience=null",
            f"trainer.max_epochs={point['epochs']}",
            f"trainer.device={device}",
            f"hydra.run.dir={scratch}/run",
        ]
        compose_runs(words, start)
    return taken


def slope(values: list[int], taken_s: list[float]) -> float:
    """Of the last decade, in log-log."""
    return math.log(taken_s[-1] / taken_s[-2]) / math.log(values[-1] / values[-2])


def draw(points: Mapping[str, tuple[tuple[int, ...], list[float]]], path: Path) -> None:
    """One panel per axis, with a straight line of slope 1 through the last point."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.6), layout="constrained")
    for axes, (name, (values, taken_s)) in zip(
        figure.subplots(1, 3, sharey=True), points.items(), strict=True
    ):
        axes.loglog(values, taken_s, "o-", label="measured")
        axes.loglog(values, [taken_s[-1] * value / values[-1] for value in values], "--", label="linear")
        axes.set_xlabel(name)
        axes.set_title(", ".join(f"{value:,} {other}" for other, value in _FIXED.items() if other != name))
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("seconds of a run")
    figure.axes[0].legend()
    figure.savefig(path, dpi=100)


def main() -> None:
    """Time all points, and write numbers and picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--decades", type=int, default=3)
    parser.add_argument("--json", type=Path, help="where the slopes are to be written")
    args = parser.parse_args()
    seconds({"rows": 200, "labels": 10, "epochs": 1}, args.device)  # imports, thread pools
    points = {}
    for name, values in _AXES.items():
        values = values[: args.decades + 1]
        taken_s = []
        for value in values:
            taken_s.append(seconds({**_FIXED, name: value}, args.device))
            print(f"{name} {value:>9,}  {taken_s[-1]:8.2f} s", flush=True)
        points[name] = (values, taken_s)
    slopes = {name: slope(list(values), taken_s) for name, (values, taken_s) in points.items()}
    print("slope of the last decade: " + ", ".join(f"{name} {value:.2f}" for name, value in slopes.items()))
    _RESULTS.mkdir(exist_ok=True)
    with (_RESULTS / "scaling.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["axis", "value", "seconds"])
        for name, (values, taken_s) in points.items():
            writer.writerows(
                (name, value, f"{one_s:.3f}") for value, one_s in zip(values, taken_s, strict=True)
            )
    if args.json:
        args.json.write_text(json.dumps({"slopes": slopes}), encoding="utf-8")
    draw(points, _RESULTS / "scaling.png")
    print("written to benchmarks/results/scaling.csv and scaling.png")


if __name__ == "__main__":
    main()
