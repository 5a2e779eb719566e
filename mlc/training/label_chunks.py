"""Training with very many labels: forward, loss and backward a block of labels after the other.

    features -> for each block: logits -> gradient at the logits -> gradient of the block (-> its update)

No tensor of all logits, probabilities or targets of a batch is ever made: what is B×L elsewhere is B×C here.
The gradients are those of the whole, and a loss that is a sum over labels is read once: its logits, gradient
and update are taken while the block is in the cache.

Source: label chunks with the loss skipped in the backward pass: Jain, Prakash, Saini, Jiao, Ramjee & Varma,
    "Renée: end-to-end training of extreme classification models", MLSys 2023. The update within the chunk:
    Zhang, Ullah, Schultheis & Babbar, "ELMO: efficiency via low-precision and peak memory optimization in
    large output spaces", ICML 2025. Softmax over blocks: Wijmans et al., "Cut your losses in large-vocabulary
    language models", ICLR 2025.
Differs: exact in float32; the loss is computed all the same, because it is logged.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mlc.batch import Batch, BatchInput
from mlc.heads.base import Head
from mlc.heads.factorised import FactorisedHead
from mlc.heads.sigmoid import SigmoidHead
from mlc.heads.softmax import SoftmaxHead
from mlc.losses.base import Loss
from mlc.losses.factorised import FactorisedLoss
from mlc.model import Network
from mlc.rows import SparseRows
from mlc.training import processes
from mlc.training.label_features import DenseFeatures, Features, SparseFeatures
from mlc.training.label_layer import LabelBlocks
from mlc.training.label_losses import (
    BlockLoss,
    CrossEntropyOverLabels,
    SharesOverLabels,
    SumOverLabels,
    is_cross_entropy,
    losses_of_blocks,
)
from mlc.training.label_shard_rows import TrainingRows, log_sum_over_shards, rows_of_all
from mlc.training.label_targets import BlockTargets, block_targets
from mlc.training.label_update import BlockUpdate
from mlc.training.precision import autocast

_LAYER: Mapping[type[Head], str] = {SigmoidHead: "logits", SoftmaxHead: "logits", FactorisedHead: "shares"}


def layer_name(head: Head) -> str | None:
    """The name of the head's layer over labels; None for a head that cannot be taken in blocks."""
    return _LAYER.get(type(head))


def label_blocks(head: Head) -> LabelBlocks:
    """The head's layer over labels, once `cut_into_blocks` has replaced it."""
    layer = getattr(head, _LAYER[type(head)])
    assert isinstance(layer, LabelBlocks), "cut_into_blocks() comes first"
    return layer


def cut_into_blocks(head: Head, *, size: int, sharded: bool = False) -> None:
    """Replace the head's layer over labels by the same one in blocks; its state stays that of nn.Linear.

    Args:
        head: one that has a `layer_name`.
        size: labels of a block.
        sharded: whether each process keeps its share of the blocks only.
    """
    name = _LAYER[type(head)]
    setattr(head, name, LabelBlocks(getattr(head, name), size=size, sharded=sharded))


def join_labels(head: Head) -> None:
    """Where labels lie in shards, give the main process all of them: what it has is then as without blocks.

    All processes ask together; afterwards the main one asks nothing of the others.
    """
    name = layer_name(head)
    if name is None:
        return
    layer = getattr(head, name)
    if not isinstance(layer, LabelBlocks) or not layer.sharded:
        return
    weight_LD, bias_L = layer.as_linear()
    if processes.is_main():
        linear = nn.Linear(layer.in_features, layer.out_features, device="meta")
        linear.weight, linear.bias = nn.Parameter(weight_LD), nn.Parameter(bias_L)
        setattr(head, name, linear)


def features_for_labels(
    network: Network, inputs: Mapping[str, BatchInput], precision: str
) -> Tensor | SparseRows:
    """What the label layer reads; a linear backbone hands sparse rows through."""
    with autocast(inputs, precision):
        features: Tensor | SparseRows = network.backbone(inputs)[network.head.reads]
    return features


def dense_features(x_BD: Tensor, layer: LabelBlocks, precision: str) -> DenseFeatures:
    """Dense features, multiplied in the number format of a run; fp16 stays in that of the layer."""
    return DenseFeatures(x_BD, layer.bias_L.dtype, torch.bfloat16 if precision == "bf16" else None)


class LabelChunks(nn.Module):
    """The objective of a network over very many labels; see `mlc.training.objective.Objective`.

    With an update, asking for the objective changes the label layer: when the loss is there, its weights
    have taken their step, and their gradient is gone. The gradients of all other parameters come as ever from
    `backward()`. A block whose gradient or loss is not finite keeps its weights; the blocks before it have
    taken their step, because the loss of all labels is known only after the last block, and a second pass to
    know it before would cost a third of the step. `moved_labels` says how many it were.

    Where each process holds a shard of the labels, it asks for the objective of its own rows and gets what
    its labels add to the mean loss of the rows of all. The gradients of the backbone are then to be added up
    over the processes; those of the labels are whole.

    Args:
        network: its head's layer is in blocks.
        loss: of its head; `check_label_chunks` says which.
        precision: fp32 or bf16; under fp16 the label layer stays in fp32, because its gradients are taken
            before the loss is scaled.
        update: takes the optimiser's step of a block, or None, and the weights get a gradient.
    """

    def __init__(self, network: Network, loss: Loss, *, precision: str, update: BlockUpdate | None):
        super().__init__()
        self.network = network
        self._precision = precision
        self._update = (update,)
        self.moved_labels = 0  # in the last forward pass
        layer = label_blocks(network.head)
        labels = [layer.labels(block) for block in range(len(layer))]
        # In tuples, because their buffers are nobody's to share.
        self._loss = (loss,)
        self._losses = (losses_of_blocks(loss, labels),)
        self._labels = labels

    def forward(self, batch: Batch, *, counted: bool = True) -> Tensor:
        """The mean loss of a batch: one number.

        Args:
            batch: of this process.
            counted: with shards, whether its rows count; a process without any has one that does not.
        """
        network = self.network
        layer = label_blocks(network.head)
        x_BD = features_for_labels(network, batch.inputs, self._precision)
        given = batch.y_BL if batch.label_rows is None else batch.label_rows
        weight_B = layer.bias_L.new_ones(len(given)) if batch.weight_B is None else batch.weight_B
        own = TrainingRows(x_BD, given, weight_B)
        rows = rows_of_all(own, counted=counted) if layer.sharded else own
        targets = self._targets(rows, batch)
        mean = self._over_labels(rows.x_BD, targets, rows.weight_B / len(rows.weight_B))
        if isinstance(network.head, FactorisedHead):
            if not layer.sharded:
                return mean + self._count_term(x_BD, targets, weight_B)
            share = len(weight_B) / len(rows.weight_B) if counted else 0.0
            mean = mean + self._count_term(x_BD, self._targets(own, batch), weight_B) * share
        return mean

    def _targets(self, rows: TrainingRows, batch: Batch) -> BlockTargets:
        dtype = label_blocks(self.network.head).bias_L.dtype
        return block_targets(rows.targets, self._labels, dtype, all_known=batch.all_known)

    def _over_labels(self, x_BD: Tensor | SparseRows, targets: BlockTargets, weight_B: Tensor) -> Tensor:
        layer, loss, update = label_blocks(self.network.head), self._loss[0], self._update[0]
        features: Features
        if isinstance(x_BD, SparseRows):
            features = SparseFeatures(x_BD, layer.weight_KDC.dtype)
        else:
            features = dense_features(x_BD, layer, self._precision)
        block_loss: BlockLoss
        over_all = log_sum_over_shards if layer.sharded else None
        if isinstance(loss, FactorisedLoss):
            block_loss = SharesOverLabels(targets, weight_B * loss.share_weight, over_all)
        elif isinstance(self.network.head, SoftmaxHead):
            block_loss = SharesOverLabels(targets, weight_B, over_all)
        elif is_cross_entropy(loss) and targets.all_known:
            block_loss = CrossEntropyOverLabels(targets, weight_B, self._losses[0])
        else:
            block_loss = SumOverLabels(targets, weight_B, self._losses[0])
        dense = x_BD if isinstance(x_BD, Tensor) else None
        weight = None if update is not None and torch.is_grad_enabled() else layer.weight_KDC
        work = _Work(layer, features, block_loss, update)
        value: Tensor = _OverBlocks.apply(dense, weight, layer.bias_L, work)  # type: ignore[no-untyped-call]
        self.moved_labels = work.moved_labels
        return value

    def _count_term(self, x_BD: Tensor | SparseRows, targets: BlockTargets, weight_B: Tensor) -> Tensor:
        head, loss, layer = self.network.head, self._loss[0], label_blocks(self.network.head)
        assert isinstance(head, FactorisedHead), "asked before"
        assert isinstance(loss, FactorisedLoss), "check_label_chunks() refuses the others"
        x_BD = (x_BD.dense() if isinstance(x_BD, SparseRows) else x_BD).to(layer.bias_L.dtype)
        with torch.autocast(x_BD.device.type, dtype=torch.bfloat16, enabled=self._precision == "bf16"):
            raw_BK = head.count(x_BD)
        count = head.read_count(raw_BK.to(layer.bias_L.dtype))
        n_B = targets.n_true
        term_B = loss.beside_shares(count, n_B, targets.whole(), largest=int(n_B.max()))
        return (weight_B * term_B).mean()


class _Work:
    """What `_OverBlocks` works on, beside the tensors that autograd must know.

    Args:
        layer: over labels.
        features: of the batch.
        loss: of the batch, by blocks.
        update: takes the step of a block, or None.
    """

    def __init__(self, layer: LabelBlocks, features: Features, loss: BlockLoss, update: BlockUpdate | None):
        self.layer = layer
        self.features = features
        self.loss = loss
        self.update = update
        self.moved_labels = 0

    def run(self, *, weight_gradient: bool) -> tuple[Tensor, Tensor | None, Tensor]:
        """Loss, gradient of the weight or None (then the blocks are updated), gradient of the bias.

        Of a shard these are the loss of its own labels, and their gradients.
        """
        layer, features, loss = self.layer, self.features, self.loss
        first = layer.own.start
        if loss.looks_first:
            for block in layer.own:
                loss.look(layer.own_logits(features, block), block)
            loss.looked()
        gradient_KDC = torch.empty_like(layer.weight_KDC) if weight_gradient else None
        bias_gradient_L = torch.empty_like(layer.bias_L)
        update = None if weight_gradient else self.update
        usable = update is None or features.finite()
        if update is not None and layer.sharded and usable:
            update.begin()  # in all processes, whose states go together
        for block in layer.own:
            at_logits_BC = loss.gradient(layer.own_logits(features, block), block)
            at_bias_C = bias_gradient_L[layer.own_place(block)]
            torch.sum(at_logits_BC, 0, out=at_bias_C)
            at_logits_BC = _filled_up(at_logits_BC, layer.size)
            features.add_gradient(at_logits_BC, layer.own_block(block))
            if gradient_KDC is not None:
                features.outer(at_logits_BC, gradient_KDC[block - first])
            elif usable and bool((at_bias_C.sum() + loss.value()).isfinite()):
                assert update is not None, "there is no gradient to give"
                if not self.moved_labels and not layer.sharded:
                    update.begin()  # not before: a step in which nothing moves does not count
                self.moved_labels += len(at_bias_C)
                update(block - first, features.outer(at_logits_BC))
            else:
                at_bias_C.fill_(torch.nan)  # so that the loop leaves out the step of everything else
        if layer.sharded:
            self._agree(bias_gradient_L)
        return loss.value(), gradient_KDC, bias_gradient_L

    def _agree(self, bias_gradient_L: Tensor) -> None:
        """Have all processes leave out the step where one of them must."""
        fine = bool((bias_gradient_L.sum() + self.loss.value()).isfinite())
        (bad,) = processes.any_of(not fine)
        if bad:
            bias_gradient_L.fill_(torch.nan)
            self.moved_labels = int(processes.sum_of(self.moved_labels))


def _filled_up(at_logits_BC: Tensor, size: int) -> Tensor:
    """With zeros for the columns of the last block that no label has."""
    missing = size - at_logits_BC.shape[1]
    return nn.functional.pad(at_logits_BC, (0, missing)) if missing else at_logits_BC


class _OverBlocks(torch.autograd.Function):
    """The loss, with all gradients taken on the way: what comes back later can only scale them."""

    @staticmethod
    def forward(
        ctx: Any, x_BD: Tensor | None, weight_KDC: Tensor | None, bias_L: Tensor, work: _Work
    ) -> Tensor:
        value, gradient_KDC, bias_gradient_L = work.run(weight_gradient=weight_KDC is not None)
        ctx.gradients = [work.features.gradient, gradient_KDC, bias_gradient_L]
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.gradients
        del ctx.gradients  # they are handed over, and scaled in place: a second backward has none
        if scale.device.type != "cpu" or scale != 1:  # on a GPU, asking would make the host wait
            for gradient in gradients:
                if gradient is not None:
                    gradient.mul_(scale)
        return (*gradients, None)
