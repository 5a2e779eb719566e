"""What a network says of all rows, some labels at a time: rows × labels are never held at once.

    inputs -> features of all rows -> for each piece of the labels: logits -> what the loss makes of them

Seen from a label all is there, so that whatever belongs to one label (its average precision, its threshold)
is exact. What belongs to a row is added up over the pieces.
"""

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from mlc.batch import BatchInput
from mlc.heads.factorised import FactorisedHead
from mlc.heads.sigmoid import SigmoidHead
from mlc.losses.base import Loss
from mlc.model import Network
from mlc.outputs.base import LabelOutput, concatenate
from mlc.outputs.counts import CountModel
from mlc.outputs.factorised import FactorisedCount
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.scores_only import ScoresOnly
from mlc.outputs.shares import LabelShares
from mlc.rows import SparseRows
from mlc.training.label_chunks import dense_features, features_for_labels, label_blocks
from mlc.training.label_features import Features, SparseFeatures
from mlc.training.label_parts import of_labels
from mlc.training.precision import autocast

_PIECE_NUMBERS = 2**22  # rows × labels of a piece
_BYTES_PER_NUMBER = 64  # its scores, probabilities and targets, and what is made of them on the way
_FEWEST_LABELS = 16  # of a piece, however many rows there are


class RowSums(NamedTuple):
    """What shares of all labels need to know of each row.

    Args:
        log_sum_N: log Σ exp z over all labels.
        best_N: the largest z.
        best_label_N: int64, the first label that has it.
        log_rest_N: log Σ exp z over all labels but that one.
    """

    log_sum_N: Tensor
    best_N: Tensor
    best_label_N: Tensor
    log_rest_N: Tensor


class LabelScores:
    """The logits of some labels for all of a few rows, as often as they are wanted.

    Args:
        network: its head's layer is in blocks.
        inputs: of the rows, batch after batch, where the network is.
        precision: as in training.
        memory_limit_mb: what the numbers of a piece may take.
    """

    @torch.no_grad()
    def __init__(
        self,
        network: Network,
        inputs: Iterable[Mapping[str, BatchInput]],
        *,
        precision: str,
        memory_limit_mb: float,
    ):
        self._head = head = network.head
        self._layer = layer = label_blocks(head)
        was_training = network.training
        network.eval()
        features: list[Tensor | SparseRows] = []
        counts: list[CountModel] = []
        for batch in inputs:
            x_BD = features_for_labels(network, batch, precision)
            features.append(x_BD)
            if isinstance(head, FactorisedHead):
                with autocast(batch, precision):
                    raw_BK = head.count(x_BD)
                counts.append(head.read_count(raw_BK.float()))
        network.train(was_training)
        x_ND = _joined(features)
        self.rows = len(x_ND)
        self._features: Features = (
            SparseFeatures(x_ND, layer.bias_L.dtype)
            if isinstance(x_ND, SparseRows)
            else dense_features(x_ND, layer, precision)
        )
        self._count = concatenate(counts) if counts else None
        self.width = self._width(memory_limit_mb)
        self._places = list(self._cut())

    def _width(self, memory_limit_mb: float) -> int:
        """Most labels of a piece."""
        numbers = min(_PIECE_NUMBERS, int(memory_limit_mb * 1e6) // _BYTES_PER_NUMBER)
        return min(self._layer.size, max(_FEWEST_LABELS, numbers // max(1, self.rows)))

    def _cut(self) -> Iterable[tuple[int, slice]]:
        """Block and columns of each piece; no piece has labels of two blocks."""
        for block in range(len(self._layer)):
            labels = self._layer.labels(block)
            size = labels.stop - labels.start
            for first in range(0, size, self.width):
                yield block, slice(first, min(first + self.width, size))

    @property
    def n_labels(self) -> int:
        """L."""
        return self._layer.out_features

    @property
    def independent(self) -> bool:
        """Whether each label stands for itself; else they share one unit."""
        return isinstance(self._head, SigmoidHead)

    @property
    def device(self) -> torch.device:
        """Where the numbers are."""
        return self._layer.bias_L.device

    @cached_property
    def labels(self) -> list[slice]:
        """The labels of each piece, from 0 to L without a gap."""
        starts = [(self._layer.labels(block).start, columns) for block, columns in self._places]
        return [slice(start + columns.start, start + columns.stop) for start, columns in starts]

    @torch.no_grad()
    def logits(self, piece: int) -> Tensor:
        """N×C float32 logits of a piece."""
        layer, (block, columns) = self._layer, self._places[piece]
        if layer.sharded:  # its weights come from another process, block by block
            return layer.logits(self._features, block)[:, columns].float()
        weight_DC = layer.own_block(block)[:, columns].contiguous()
        return (self._features.times(weight_DC) + layer.bias_L[self.labels[piece]]).float()

    def linked(self, piece: int, logits_NC: Tensor, loss: Loss) -> LabelOutput:
        """What the loss's link makes of a piece: independent labels, or the scores of shares."""
        if self.independent:
            return of_labels(loss, self.labels[piece]).link(IndependentLabels(logits_NC))
        log_p_NC = logits_NC - self.row_sums.log_sum_N[:, None]
        if self._count is None:
            return ScoresOnly(self._log_odds(piece, log_p_NC), log_p_NC.exp())
        return ScoresOnly(
            log_p_NC + self._count.log_mean()[:, None], log_p_NC.exp() * self._count.mean()[:, None]
        )

    def _log_odds(self, piece: int, log_p_NC: Tensor) -> Tensor:
        """log p - log(1 - p), as `softmax_log_odds` has it."""
        sums, first = self.row_sums, self.labels[piece].start
        log_rest_NC = torch.log1p(-log_p_NC.exp().clamp(max=0.5))
        place_N = sums.best_label_N - first
        here_N = ((place_N >= 0) & (place_N < log_p_NC.shape[1])).nonzero().squeeze(1)
        log_rest_NC[here_N, place_N[here_N]] = (sums.log_rest_N - sums.log_sum_N)[here_N]
        return log_p_NC - log_rest_NC

    def example(self) -> LabelOutput:
        """The output of one row, to be asked what it defines; its numbers mean nothing."""
        z_1L = torch.zeros(1, self.n_labels, device=self.device)
        if self.independent:
            return IndependentLabels(z_1L)
        if self._count is None:
            return LabelShares(z_1L)
        return FactorisedCount(z_1L, self._count.map_tensors(lambda values: values[:1]))

    @property
    def count(self) -> CountModel:
        """How many labels each row has; of a factorised head."""
        assert self._count is not None, "check_label_chunks() asks for the head"
        return self._count

    @cached_property
    def row_sums(self) -> RowSums:
        """One pass over all labels."""
        found: RowSums | None = None
        for piece, labels in enumerate(self.labels):
            z_NC = self.logits(piece)
            best_N1 = z_NC.argmax(1, keepdim=True)
            rest_N = z_NC.scatter(1, best_N1, -torch.inf).logsumexp(1)
            here = RowSums(
                z_NC.logsumexp(1),
                z_NC.gather(1, best_N1).squeeze(1),
                best_N1.squeeze(1) + labels.start,
                rest_N,
            )
            found = here if found is None else _together(found, here)
        assert found is not None, "there is a label"
        return found


def _together(one: RowSums, other: RowSums) -> RowSums:
    """Of equally good labels the first is the best."""
    better_N = other.best_N > one.best_N
    rest_N = torch.logaddexp(one.log_rest_N, other.log_rest_N)
    return RowSums(
        torch.logaddexp(one.log_sum_N, other.log_sum_N),
        torch.where(better_N, other.best_N, one.best_N),
        torch.where(better_N, other.best_label_N, one.best_label_N),
        torch.logaddexp(rest_N, torch.where(better_N, one.best_N, other.best_N)),
    )


def _joined(parts: list[Tensor | SparseRows]) -> Tensor | SparseRows:
    """The features of all batches."""
    sparse = [part for part in parts if isinstance(part, SparseRows)]
    if not sparse:
        return torch.cat([part for part in parts if isinstance(part, Tensor)])
    length_N = torch.cat([part.length_N for part in sparse])
    values = [part.values_M for part in sparse if part.values_M is not None]
    return SparseRows(
        torch.cat([part.ids_M for part in sparse]),
        length_N.cumsum(0) - length_N,
        length_N,
        torch.cat(values) if values else None,
        sparse[0].width,
    )
