"""What every data set is once loaded: three splits of tensors, label names, and how to read new rows."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from torch import Tensor

from mlc.batch import Batch


@dataclass(frozen=True)
class Split:
    """N examples in memory.

    Args:
        inputs: named input tensors, each with N rows; the main one is called "x".
        y_NL: float32 targets, 0 or 1 (or levels 0, 1, 2, ...), NaN where unknown.
        weight_N: float32 weights of the rows, of mean 1 over the split, or None where all are equal.
    """

    inputs: Mapping[str, Tensor]
    y_NL: Tensor
    weight_N: Tensor | None = None

    def __len__(self) -> int:
        return len(self.y_NL)

    def select(self, rows: Tensor) -> Batch:
        """The examples at `rows` (int64 indices on the same device) as one batch."""
        inputs = {name: values[rows] for name, values in self.inputs.items()}
        weight_B = None if self.weight_N is None else self.weight_N[rows]
        return Batch(inputs=inputs, y_BL=self.y_NL[rows], weight_B=weight_B)

    def rows(self, rows: Tensor) -> "Split":
        """The examples at `rows` (int64 indices on the same device) as a split, with weights of mean 1."""
        batch = self.select(rows)
        weight_N = batch.weight_B
        if weight_N is not None and weight_N.any():
            weight_N = weight_N / weight_N.mean()
        return Split(inputs=batch.inputs, y_NL=batch.y_BL, weight_N=weight_N)

    def counting_rows(self) -> Tensor:
        """Indices of the rows that have a known label and a weight above 0: those that teach anything."""
        counts_N = ~self.y_NL.isnan().all(1)
        if self.weight_N is not None:
            counts_N &= self.weight_N > 0
        return counts_N.nonzero().squeeze(1)

    def to(self, device: str) -> "Split":
        """The same split on another device."""
        inputs = {name: values.to(device) for name, values in self.inputs.items()}
        weight_N = None if self.weight_N is None else self.weight_N.to(device)
        return Split(inputs=inputs, y_NL=self.y_NL.to(device), weight_N=weight_N)


@dataclass(frozen=True)
class Dataset:
    """A data set ready to train on.

    Args:
        name: short name, used in folder names.
        label_names: the L labels, in the order of the target columns.
        train, valid, test: the splits; inputs are already prepared (standardised, scaled).
        preparation: tensors fitted on the training split that prepare new rows; stored with the model. Rows
            count equally in the fit, whatever their weights.
        notes: sentences that say what was dropped, repaired or assumed while loading.
    """

    name: str
    label_names: tuple[str, ...]
    train: Split
    valid: Split
    test: Split
    preparation: Mapping[str, Tensor]
    notes: tuple[str, ...] = field(default=())

    def with_targets(self, change: Callable[[Tensor], Tensor]) -> "Dataset":
        """The same data with the targets of every split changed."""
        train, valid, test = (
            replace(split, y_NL=change(split.y_NL)) for split in (self.train, self.valid, self.test)
        )
        return replace(self, train=train, valid=valid, test=test)

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
