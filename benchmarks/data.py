"""The tensors of a workload: made once, kept in a folder, read by every process that takes part."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from benchmarks.workloads import Tensors, Workload

SPLITS = ("train", "valid")


def make(workload: Workload, folder: Path) -> None:
    """Write the tensors of both splits, unless they are there."""
    path = _path(workload, folder)
    if path.is_file():
        return
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for split, rows in zip(SPLITS, (workload.rows, workload.valid_rows), strict=True):
        made = dict(workload.make(rows, generator))
        made["labels"] = _labels(workload, rows, generator)
        tensors |= {f"{split}.{name}": values for name, values in made.items()}
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    save_file(tensors, part)
    part.replace(path)


def load(workload: Workload, folder: Path) -> dict[str, Tensors]:
    """The inputs of both splits by name, and their targets "y", N x L float32.

    Args:
        workload: which.
        folder: where `make` has put them.
    """
    tensors = load_file(_path(workload, folder))
    splits: dict[str, Tensors] = {}
    for split in SPLITS:
        its = {
            name.partition(".")[2]: values for name, values in tensors.items() if name.startswith(f"{split}.")
        }
        labels = its.pop("labels")
        its["y"] = torch.zeros(len(labels), workload.labels).scatter_(1, labels, 1.0)
        splits[split] = its
    return splits


def _labels(workload: Workload, rows: int, generator: torch.Generator) -> torch.Tensor:
    """Different labels for each row: one out of every stretch of the labels, so that there is no loop."""
    stretch = workload.labels // workload.positives
    first = torch.arange(workload.positives) * stretch
    return first + torch.randint(0, stretch, (rows, workload.positives), generator=generator)


def _path(workload: Workload, folder: Path) -> Path:
    return folder / f"{workload.name}_{workload.rows}_{workload.labels}.safetensors"
