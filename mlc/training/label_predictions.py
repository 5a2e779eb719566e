"""What a network says about a split with very many labels, and what is true, piece by piece of the labels."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from mlc.data.dataset import Split
from mlc.losses.base import Loss
from mlc.losses.factorised import FactorisedLoss
from mlc.metrics.suite import diverged
from mlc.model import Network
from mlc.outputs.base import LabelOutput
from mlc.outputs.independent import IndependentLabels
from mlc.rows import LabelRows, Targets, take_targets
from mlc.training import feeding
from mlc.training.label_chunk_check import cut_labels
from mlc.training.label_layer import LabelBlocks
from mlc.training.label_parts import of_labels
from mlc.training.label_scores import LabelScores
from mlc.training.label_targets import BlockTargets, block_targets
from mlc.training.order import evaluation_order
from mlc.training.settings import TrainerSettings


class Piece(NamedTuple):
    """Some labels of all rows of a split.

    Args:
        number: of the piece.
        labels: which.
        linked: N×C, what the loss's link makes of the output.
        y_NC: targets, 0 or 1, NaN where unknown.
        true: row and column of everything that is true.
        loss_N: what these labels add to the loss of each row, for a weight of 1.
    """

    number: int
    labels: slice
    linked: LabelOutput
    y_NC: Tensor
    true: tuple[Tensor, Tensor]
    loss_N: Tensor


@dataclass(frozen=True)
class LabelPredictions:
    """What a network says about a split.

    Args:
        scores: of the network.
        targets: of the rows, cut at the labels of the pieces.
        known_N: booleans, whether any label of the row is known.
        weight_N: weights of the rows, None where all are 1.
        why: one sentence on how it is measured.
    """

    scores: LabelScores
    targets: BlockTargets
    known_N: Tensor
    weight_N: Tensor | None
    why: str

    @property
    def rows(self) -> int:
        """Number of examples N."""
        return self.scores.rows

    @property
    def n_labels(self) -> int:
        """Number of labels L."""
        return self.scores.n_labels

    def example(self) -> LabelOutput:
        """The output of one row, to be asked what it defines."""
        return self.scores.example()

    @torch.no_grad()
    def pieces(self, loss: Loss) -> Iterator[Piece]:
        """All labels, piece by piece; each time it is asked, the layer runs again.

        Raises:
            Fault: a score is NaN.
        """
        for number, labels in enumerate(self.scores.labels):
            z_NC, y_NC = self.scores.logits(number), self.targets.dense(number)
            if bool(z_NC.amax().isnan()):
                raise diverged()
            true = self.targets.true(number)
            linked = self.scores.linked(number, z_NC, loss)
            if self.scores.independent:
                output, known = IndependentLabels(z_NC), self.targets.all_known
                loss_N = of_labels(loss, labels)(output, y_NC, all_known=known)
            else:
                loss_N = self._share_term(z_NC, true, loss)
            yield Piece(number, labels, linked, y_NC, true, loss_N)

    def loss_beside_labels(self, loss: Loss) -> Tensor:
        """N losses of weight 1 that no label has: the count term of a factorised head."""
        n_N = self.targets.n_true
        if not isinstance(loss, FactorisedLoss):
            return torch.zeros_like(n_N)
        return loss.beside_shares(self.scores.count, n_N, self.targets.whole(), largest=int(n_N.max()))

    def _share_term(self, z_NC: Tensor, true: tuple[Tensor, Tensor], loss: Loss) -> Tensor:
        """N cross-entropies of these labels' shares; 0 for rows without labels."""
        row_P, column_P = true
        share_P = 1 / self.targets.n_true[row_P]
        weight = loss.share_weight if isinstance(loss, FactorisedLoss) else 1.0
        nats_P = weight * share_P * (self._log_sum_known_N[row_P] - z_NC[row_P, column_P])
        return torch.zeros_like(self.targets.n_true).index_add_(0, row_P, nats_P)

    @cached_property
    def _log_sum_known_N(self) -> Tensor:  # noqa: N802 - the shape suffix
        """The shares that are trained are those of the known labels; one more pass where some are not."""
        if all(self.targets.unknown(piece) is None for piece in range(len(self.scores.labels))):
            return self.scores.row_sums.log_sum_N
        log_sum_N = torch.full_like(self.targets.n_true, -torch.inf)
        for piece in range(len(self.scores.labels)):
            unknown_NC, z_NC = self.targets.unknown(piece), self.scores.logits(piece)
            if unknown_NC is not None:
                z_NC = z_NC.masked_fill(unknown_NC, torch.finfo(z_NC.dtype).min)
            log_sum_N = torch.logaddexp(log_sum_N, z_NC.logsumexp(1))
        return log_sum_N


def predict_by_label(
    network: Network, split: Split, settings: TrainerSettings, device: str
) -> LabelPredictions:
    """Features for every row of a split; several processes have all of them each.

    Args:
        network: on the device; its label layer is cut into blocks, if it is not yet.
        split: where it fits.
        settings: of the run, with a `label_chunk`.
        device: of the network.
    """
    cut_once(network, settings)
    rows_N = torch.arange(len(split))
    if split.lengths_N is not None:
        rows_N = evaluation_order(split.lengths_N).cpu()
    sparse = replace(split, sparse_batches=True)
    batches = feeding.batches(sparse, rows_N.split(settings.eval_batch_size), device)
    scores = LabelScores(
        network,
        (batch.inputs for batch in batches),
        precision=settings.precision,
        memory_limit_mb=settings.memory_limit_mb,
    )
    here_N = rows_N.to(split.device)
    y_NL = _on(take_targets(split.y_NL, here_N), scores.device)
    known = isinstance(y_NL, LabelRows)
    return LabelPredictions(
        scores=scores,
        targets=block_targets(y_NL, scores.labels, torch.float32, all_known=known or split.all_known),
        known_N=torch.ones(len(split), dtype=torch.bool, device=scores.device)
        if isinstance(y_NL, LabelRows)
        else ~y_NL.isnan().all(1),
        weight_N=None if split.weight_N is None else split.weight_N[here_N].to(scores.device),
        why=f"Average precision is exact: all {len(split)} rows of up to {scores.width} labels are measured "
        f"at a time (trainer.label_chunk).",
    )


def cut_once(network: Network, settings: TrainerSettings) -> None:
    """Cut the label layer of a network as its run did, unless it is cut."""
    if not any(isinstance(part, LabelBlocks) for part in network.head.children()):
        assert settings.label_chunk is not None, "predict_split() asks for it"
        cut_labels(network, settings.label_chunk)


def _on(targets: Targets, device: torch.device) -> Targets:
    return targets.to(str(device))
