"""What every data set is once loaded: three splits of tensors, label names, and how to read new rows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from torch import Tensor

from mlc.batch import Batch


@dataclass(frozen=True)
class Split:
    """N examples in memory.

    Args:
        inputs: named input tensors, each with N rows; the main one is called "x".
        y_NL: float32 targets, 0 or 1.
    """

    inputs: Mapping[str, Tensor]
    y_NL: Tensor

    def __len__(self) -> int:
        return len(self.y_NL)

    def select(self, rows: Tensor) -> Batch:
        """The examples at `rows` (int64 indices on the same device) as one batch."""
        inputs = {name: values[rows] for name, values in self.inputs.items()}
        return Batch(inputs=inputs, y_BL=self.y_NL[rows])

    def to(self, device: str) -> "Split":
        """The same split on another device."""
        inputs = {name: values.to(device) for name, values in self.inputs.items()}
        return Split(inputs=inputs, y_NL=self.y_NL.to(device))


@dataclass(frozen=True)
class Dataset:
    """A data set ready to train on.

    Args:
        name: short name, used in folder names.
        label_names: the L labels, in the order of the target columns.
        train, valid, test: the splits; inputs are already prepared (standardised, scaled).
        preparation: tensors fitted on the training split that prepare new rows; stored with the model.
        notes: sentences that say what was dropped, repaired or assumed while loading.
    """

    name: str
    label_names: tuple[str, ...]
    train: Split
    valid: Split
    test: Split
    preparation: Mapping[str, Tensor]
    notes: tuple[str, ...] = field(default=())

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example's main input: (D,) or (channels, height, width)."""
        return tuple(self.train.inputs["x"].shape[1:])


@runtime_checkable
class DatasetSource(Protocol):
    """What a dataset config builds: cheap to construct, `load` does the work."""

    def load(self, *, seed: int) -> Dataset:
        """Read and prepare the data. The same seed gives the same splits."""
        ...

    def read_inputs(
        self, path: Path, *, preparation: Mapping[str, Tensor], chunk_rows: int
    ) -> Iterator[Mapping[str, Tensor]]:
        """Stream new rows from a file for prediction, prepared like the training rows, without labels."""
        ...
