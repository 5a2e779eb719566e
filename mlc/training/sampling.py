"""Drawing training rows so that rare labels are seen as often as common ones."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mlc.data.positives import positives
from mlc.rows import Targets


@dataclass(frozen=True)
class ClassAwareSampler:
    """Draws a label, all with the same probability, and then one of its rows, all with the same probability.

    The rows without a known label that is true count as one more label, or the network would never see them.
    Labels without rows are left out. Rows are drawn anew each time: in an epoch some occur often, and some
    not at all. The shares of the labels are then not those of the data: fit the calibrator and the decision
    rule on validation rows, as always, and they undo it.

    Args:
        rows_M: the rows of one label after the other; a row with k labels stands there k times.
        start_L: where each label starts.
        length_L: how many rows it has, 1 or more.

    Source: Shen, Lin and Huang (2016), Relay Backpropagation for Effective Learning of Deep Convolutional
        Neural Networks, section 4.1.
    Differs: labels and rows are drawn independently, not dealt from shuffled lists; several labels in a row.
    """

    rows_M: Tensor
    start_L: Tensor
    length_L: Tensor

    @classmethod
    def of(cls, y_NL: Targets) -> "ClassAwareSampler":
        """The sampler of these training targets."""
        n_rows, n_labels = y_NL.shape
        rows, labels = positives(y_NL)
        without = np.setdiff1d(np.arange(n_rows), rows)
        rows, labels = np.append(rows, without), np.append(labels, np.full(len(without), n_labels))
        lengths = np.bincount(labels, minlength=1)
        starts = np.cumsum(lengths) - lengths
        rows_M = torch.from_numpy(rows[np.argsort(labels, kind="stable")].astype(np.int64))
        return cls(rows_M, torch.from_numpy(starts[lengths > 0]), torch.from_numpy(lengths[lengths > 0]))

    def draw(self, n_rows: int, generator: torch.Generator) -> Tensor:
        """Draw the rows of an epoch: n_rows int64 indices."""
        label_N = torch.randint(len(self.length_L), (n_rows,), generator=generator)
        # In float64 a share of less than 1 times a length stays below the length.
        share_N = torch.rand(n_rows, generator=generator, dtype=torch.float64)
        place_N = self.start_L[label_N] + (share_N * self.length_L[label_N]).long()
        return self.rows_M[place_N]
