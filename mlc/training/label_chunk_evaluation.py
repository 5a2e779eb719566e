"""What can be said of very many labels without B×L numbers: the best k of each row, counts of each label."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mlc.data.dataset import Split
from mlc.heads.factorised import FactorisedHead
from mlc.heads.sigmoid import SigmoidHead
from mlc.losses.base import Loss
from mlc.model import Network
from mlc.outputs.independent import IndependentLabels
from mlc.rows import SparseRows, take_targets
from mlc.training.label_chunks import dense_features, features_for_labels, label_blocks
from mlc.training.label_features import Features, SparseFeatures
from mlc.training.label_losses import losses_of_blocks
from mlc.training.label_targets import BlockTargets, block_targets


class ScoredBlock(NamedTuple):
    """Some labels of a batch.

    Args:
        block: which block.
        rank_BC: scores that compare within a row, and do not saturate.
        score_BC: scores in the output's own unit, see `LabelOutput.scores`.
    """

    block: int
    rank_BC: Tensor
    score_BC: Tensor


class TopK(NamedTuple):
    """The best labels of each row, the best first.

    Args:
        rank_BK: their scores.
        label_BK: int64, which they are; of equals the one with the lower number.
    """

    rank_BK: Tensor
    label_BK: Tensor


def top_k_of_chunks(chunks: Iterable[tuple[int, Tensor]], k: int) -> TopK:
    """The k best labels of each row, from chunks of labels that are seen once.

    Only the best so far and one chunk are held at a time.

    Args:
        chunks: the first label of each chunk, by rising label, and its B×C scores.
        k: how many; all labels where there are fewer.
    """
    best: TopK | None = None
    for first, score_BC in chunks:
        label_C = torch.arange(first, first + score_BC.shape[1], device=score_BC.device)
        here = TopK(score_BC, label_C.expand_as(score_BC))
        joined = (
            here if best is None else TopK(*(torch.cat(pair, 1) for pair in zip(best, here, strict=True)))
        )
        # Stable, so that the label seen first stays first among equals.
        order_BK = joined.rank_BK.sort(dim=1, descending=True, stable=True).indices[:, :k]
        best = TopK(*(part.gather(1, order_BK) for part in joined))
    assert best is not None, "there is a label"
    return best


@dataclass
class LabelCounts:
    """Counts of each label at a threshold, over the rows seen so far; int64.

    Args:
        true_L: rows that have the label.
        decided_L: rows whose score is above the threshold.
        both_L: rows of which both holds.
    """

    true_L: Tensor
    decided_L: Tensor
    both_L: Tensor

    @classmethod
    def none(cls, n_labels: int, device: torch.device) -> "LabelCounts":
        """No rows yet."""
        return cls(*(torch.zeros(n_labels, dtype=torch.int64, device=device) for _ in range(3)))

    def micro_f1(self) -> float:
        """2 · both / (true + decided), over all labels; NaN where nothing is true or decided."""
        return float(2 * self.both_L.sum() / (self.true_L.sum() + self.decided_L.sum()))

    def macro_f1(self) -> float:
        """The mean over the labels that are true or decided somewhere."""
        sum_L = self.true_L + self.decided_L
        return float((2 * self.both_L[sum_L > 0] / sum_L[sum_L > 0]).mean())


@dataclass(frozen=True)
class ChunkEvaluation:
    """What a pass over a split leaves: N·K + 3·L numbers, and never N·L.

    Args:
        label_NK: the best labels of each row, the best first.
        rank_NK: their scores.
        hit_NK: whether each is true.
        true_N: how many labels each row has.
        counts: of each label, at the threshold.
    """

    label_NK: Tensor
    rank_NK: Tensor
    hit_NK: Tensor
    true_N: Tensor
    counts: LabelCounts

    def precision_at(self, k: int) -> float:
        """Share of the k best labels that are true, the mean over rows."""
        return float(self.hit_NK[:, :k].double().sum(1).mean() / k)

    def recall_at(self, k: int) -> float:
        """Share of a row's labels that are among its k best, the mean over rows that have labels."""
        some_N = self.true_N > 0
        return float((self.hit_NK[some_N, :k].sum(1) / self.true_N[some_N]).double().mean())

    def ndcg_at(self, k: int) -> float:
        """Discounted gain of the k best over the largest possible, the mean over rows that have labels."""
        some_N = self.true_N > 0
        discount_K = 1 / torch.arange(2, k + 2, dtype=torch.float64, device=self.hit_NK.device).log2()
        best_N = discount_K.cumsum(0)[self.true_N[some_N].clamp(max=k) - 1]
        gain_N = self.hit_NK[some_N, :k].double() @ discount_K[: self.hit_NK.shape[1]]
        return float((gain_N / best_N).mean())


@torch.no_grad()
def evaluate_chunks(
    network: Network, loss: Loss, split: Split, *, batch_size: int, precision: str, k: int, threshold: float
) -> ChunkEvaluation:
    """Run a network whose label layer is in blocks over a split.

    Args:
        network: as `cut_into_blocks` leaves it.
        loss: whose link makes of a trained output what is ranked and compared with the threshold.
        split: targets that are unknown are neither true nor counted as decided.
        batch_size: rows at once.
        precision: as in training.
        k: labels to keep of each row.
        threshold: on the scores; above it a label is decided.
    """
    was_training = network.training
    network.eval()
    layer = label_blocks(network.head)
    labels = [layer.labels(block) for block in range(len(layer))]
    losses = losses_of_blocks(loss, labels)
    counts = LabelCounts.none(split.n_labels, split.device)
    found: list[tuple[Tensor, ...]] = []
    for rows_B in torch.arange(len(split), device=split.device).split(batch_size):
        inputs = {name: values[rows_B] for name, values in split.inputs.items()}
        x_BD = features_for_labels(network, inputs, precision)
        targets = block_targets(take_targets(split.y_NL, rows_B), labels, layer.bias_L.dtype)
        hits = _Hits(targets, labels)

        def ranked(blocks: Iterable[ScoredBlock], hits: _Hits = hits) -> Iterator[tuple[int, Tensor]]:
            for scored in blocks:
                hits.count(counts, scored, threshold)
                yield labels[scored.block].start, scored.rank_BC

        best = top_k_of_chunks(ranked(_scored(network, losses, x_BD, precision)), k)
        found.append((best.label_BK, best.rank_BK, hits.of(best.label_BK), targets.n_true.long()))
    network.train(was_training)
    label_NK, rank_NK, hit_NK, true_N = (torch.cat(parts) for parts in zip(*found, strict=True))
    return ChunkEvaluation(label_NK, rank_NK, hit_NK, true_N, counts)


def _scored(
    network: Network, losses: list[Loss], x_BD: Tensor | SparseRows, precision: str
) -> Iterator[ScoredBlock]:
    """The blocks of a batch; softmax shares take a first pass for their normaliser."""
    head, layer = network.head, label_blocks(network.head)
    features: Features = (
        SparseFeatures(x_BD, layer.bias_L.dtype)
        if isinstance(x_BD, SparseRows)
        else dense_features(x_BD, layer, precision)
    )
    if isinstance(head, SigmoidHead):
        for block, loss in enumerate(losses):
            linked = loss.link(IndependentLabels(layer.logits(features, block)))
            yield ScoredBlock(block, linked.score_logits(), linked.scores())
        return
    sums = [layer.logits(features, block).logsumexp(1) for block in range(len(layer))]
    log_scale_B = -torch.stack(sums).logsumexp(0)
    if isinstance(head, FactorisedHead):
        whole_BD = x_BD.dense() if isinstance(x_BD, SparseRows) else x_BD
        log_scale_B = log_scale_B + head.read_count(head.count(whole_BD).float()).log_mean()
    for block in range(len(layer)):
        log_score_BC = layer.logits(features, block) + log_scale_B[:, None]
        yield ScoredBlock(block, log_score_BC, log_score_BC.exp())


class _Hits:
    """The true labels of a batch, to be counted block by block and looked up by number."""

    def __init__(self, targets: BlockTargets, labels: list[slice]):
        self._targets = targets
        self._labels = labels
        self._pairs: list[Tensor] = []
        self._n_labels = labels[-1].stop

    def count(self, counts: LabelCounts, scored: ScoredBlock, threshold: float) -> None:
        """Add a block to the counts."""
        labels = self._labels[scored.block]
        row_P, column_P = self._targets.true(scored.block)
        self._pairs.append(row_P * self._n_labels + column_P + labels.start)
        decided_BC = scored.score_BC > threshold
        unknown_BC = self._targets.unknown(scored.block)
        if unknown_BC is not None:
            decided_BC &= ~unknown_BC
        counts.decided_L[labels] += decided_BC.sum(0)
        both_P = decided_BC[row_P, column_P].long()
        counts.true_L[labels].index_add_(0, column_P, torch.ones_like(column_P))
        counts.both_L[labels].index_add_(0, column_P, both_P)

    def of(self, label_BK: Tensor) -> Tensor:
        """Which of these labels are true, B×K booleans; all blocks have been counted."""
        row_B1 = torch.arange(len(label_BK), device=label_BK.device)[:, None]
        return torch.isin(row_B1 * self._n_labels + label_BK, torch.cat(self._pairs))
