"""What every data set is once loaded: three splits of prepared inputs, label names, how to read new rows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from mlc.batch import Batch, BatchInput
from mlc.data.text.encoder import TextEncoder
from mlc.inputs import InputSpec
from mlc.rows import LabelRows, Rows, Targets, TokenRows, take_targets

Input = Tensor | Rows


@dataclass(frozen=True)
class Split:
    """N examples.

    Args:
        inputs: named inputs, each with N rows; the main one is called "x".
        y_NL: float32 targets, 0 or 1 (or levels 0, 1, 2, ...), NaN where unknown; LabelRows where the labels
            are very many.
        weight_N: float32 weights of the rows, of mean 1 over the split, or None where all are equal.
        auxiliary_NA: targets of an auxiliary head that has its own, or None.
        sparse_batches: whether a batch has its targets as LabelRows, too, and none as a tensor.
    """

    inputs: Mapping[str, Input]
    y_NL: Targets
    weight_N: Tensor | None = None
    auxiliary_NA: Tensor | None = None
    sparse_batches: bool = False

    def __len__(self) -> int:
        return len(self.y_NL)

    @property
    def n_labels(self) -> int:
        """Number of labels L."""
        return self.y_NL.shape[1]

    @property
    def n_empty(self) -> int:
        """Number of rows that are known to have no label."""
        if isinstance(self.y_NL, LabelRows):
            return int((self.y_NL.length_N == 0).sum())
        return int((self.y_NL == 0).all(1).sum())

    @property
    def device(self) -> torch.device:
        """Where the rows are."""
        return (self.y_NL.ids_M if isinstance(self.y_NL, LabelRows) else self.y_NL).device

    @property
    def lengths_N(self) -> Tensor | None:  # noqa: N802 - the shape suffix
        """Number of tokens of each row, where rows are padded to the longest of their batch; else None."""
        tokens = [values for values in self.inputs.values() if isinstance(values, TokenRows)]
        return tokens[0].length_N if tokens else None

    @cached_property
    def all_known(self) -> bool:
        """Whether no target is NaN."""
        return isinstance(self.y_NL, LabelRows) or not bool(self.y_NL.isnan().any())

    def select(self, rows: Tensor) -> Batch:
        """The examples at `rows` (int64 indices on the same device) as one batch."""
        sparse = self.sparse_batches and isinstance(self.y_NL, LabelRows)
        return Batch(
            inputs={name: values[rows] for name, values in self.inputs.items()},
            y_BL=torch.empty(len(rows), 0, device=self.device) if sparse else self.y_NL[rows],
            label_rows=self.y_NL.piece(rows) if sparse and isinstance(self.y_NL, LabelRows) else None,
            weight_B=None if self.weight_N is None else self.weight_N[rows],
            auxiliary_BA=None if self.auxiliary_NA is None else self.auxiliary_NA[rows],
            all_known=self.all_known,
        )

    def rows(self, rows: Tensor) -> "Split":
        """The examples at `rows` (int64 indices on the same device) as a split, with weights of mean 1."""
        weight_N = None if self.weight_N is None else self.weight_N[rows]
        if weight_N is not None and weight_N.any():
            weight_N = weight_N / weight_N.mean()
        return Split(
            inputs={name: _take(values, rows) for name, values in self.inputs.items()},
            y_NL=take_targets(self.y_NL, rows),
            weight_N=weight_N,
            auxiliary_NA=None if self.auxiliary_NA is None else self.auxiliary_NA[rows],
        )

    def counting_rows(self) -> Tensor:
        """Indices of the rows that have a known label and a weight above 0: those that teach anything."""
        counts_N = torch.ones(len(self), dtype=torch.bool, device=self.device)
        if isinstance(self.y_NL, Tensor):  # LabelRows are all known
            counts_N = ~self.y_NL.isnan().all(1)
        if self.weight_N is not None:
            counts_N &= self.weight_N > 0
        return counts_N.nonzero().squeeze(1)

    def to(self, device: str) -> "Split":
        """The same split on another device."""
        return Split(
            inputs={name: values.to(device) for name, values in self.inputs.items()},
            y_NL=self.y_NL.to(device),
            weight_N=None if self.weight_N is None else self.weight_N.to(device),
            auxiliary_NA=None if self.auxiliary_NA is None else self.auxiliary_NA.to(device),
        )


def _take(values: Input, rows: Tensor) -> Input:
    return values[rows] if isinstance(values, Tensor) else values.view(rows)


@dataclass(frozen=True)
class Dataset:
    """A data set ready to train on.

    Args:
        name: short name, used in folder names.
        label_names: the L labels, in the order of the target columns.
        train, valid, test: the splits; inputs are already prepared (standardised, encoded).
        preparation: tensors fitted on the training split that prepare new rows; stored with the model. Rows
            count equally in the fit, whatever their weights.
        notes: sentences that say what was dropped, repaired or assumed while loading.
        auxiliary_names: the labels of an auxiliary head that has targets of its own.
        samples: a few training rows as a person would read them; empty where they are no text.
    """

    name: str
    label_names: tuple[str, ...]
    train: Split
    valid: Split
    test: Split
    preparation: Mapping[str, Tensor]
    notes: tuple[str, ...] = field(default=())
    auxiliary_names: tuple[str, ...] = field(default=())
    samples: tuple[str, ...] = field(default=())

    def with_targets(self, change: Callable[[Tensor], Tensor]) -> "Dataset":
        """The same data with the targets of every split changed; sparse targets, which are 0 or 1, stay."""
        train, valid, test = (
            replace(split, y_NL=change(split.y_NL)) if isinstance(split.y_NL, Tensor) else split
            for split in (self.train, self.valid, self.test)
        )
        return replace(self, train=train, valid=valid, test=test)

    @property
    def inputs(self) -> dict[str, InputSpec]:
        """What a backbone must know about each input."""
        return {name: input_spec(values) for name, values in self.train.inputs.items()}


def input_spec(values: Input) -> InputSpec:
    """What a backbone must know about one input; a dense tensor with three dimensions a row is pictures."""
    if not isinstance(values, Tensor):
        return values.spec
    return InputSpec("pictures" if values.ndim == 4 else "numbers", tuple(values.shape[1:]))


@runtime_checkable
class DatasetSource(Protocol):
    """What a dataset config builds: cheap to construct, `load` does the work."""

    def load(
        self,
        *,
        seed: int,
        text: TextEncoder | None = None,
        preparation: Mapping[str, Tensor] | None = None,
    ) -> Dataset:
        """Read and prepare the data. The same seed gives the same splits.

        Args:
            seed: of the splits.
            text: how texts are turned into numbers; sources without texts do not look at it.
            preparation: of another run, to prepare with; None fits it on the training rows.
        """
        ...

    def read_inputs(
        self, path: Path, *, preparation: Mapping[str, Tensor], chunk_rows: int
    ) -> Iterator[Mapping[str, BatchInput]]:
        """Stream new rows from a file for prediction, prepared like the training rows, without labels."""
        ...


@runtime_checkable
class TextSource(Protocol):
    """A source whose rows have a text, so that a text alone can be predicted on."""

    def text_inputs(
        self, texts: Sequence[str], *, preparation: Mapping[str, Tensor]
    ) -> Mapping[str, BatchInput]:
        """The inputs of these texts as one batch; all other columns are missing."""
        ...
