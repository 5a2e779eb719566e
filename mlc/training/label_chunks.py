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

from mlc.backbones.flatten import Flatten
from mlc.batch import Batch, BatchInput
from mlc.heads.base import Head
from mlc.heads.factorised import FactorisedHead
from mlc.heads.sigmoid import SigmoidHead
from mlc.heads.softmax import SoftmaxHead
from mlc.inputs import MAIN
from mlc.losses.base import Loss
from mlc.losses.factorised import FactorisedLoss
from mlc.model import Network
from mlc.rows import SparseRows
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


def cut_into_blocks(head: Head, *, size: int) -> None:
    """Replace the head's layer over labels by the same one in blocks; its state stays that of nn.Linear.

    Args:
        head: one that has a `layer_name`.
        size: labels of a block.
    """
    name = _LAYER[type(head)]
    setattr(head, name, LabelBlocks(getattr(head, name), size=size))


def features_for_labels(
    network: Network, inputs: Mapping[str, BatchInput], precision: str
) -> Tensor | SparseRows:
    """What the label layer reads; a linear backbone would only make sparse rows dense, and is left out."""
    x = inputs[MAIN]
    if isinstance(network.backbone, Flatten) and isinstance(x, SparseRows):
        return x
    with autocast(inputs, precision):
        features: Tensor = network.backbone(inputs)[network.head.reads]
    return features


def dense_features(x_BD: Tensor, layer: LabelBlocks, precision: str) -> DenseFeatures:
    """Dense features, multiplied in the number format of a run; fp16 stays in that of the layer."""
    return DenseFeatures(x_BD, layer.bias_L.dtype, torch.bfloat16 if precision == "bf16" else None)


class LabelChunks(nn.Module):
    """The objective of a network over very many labels; see `mlc.training.objective.Objective`.

    With an update, asking for the objective changes the label layer: when the loss is there, its weights
    have taken their step, and their gradient is gone. The gradients of all other parameters come as ever from
    `backward()`. A block whose gradient or loss is not finite keeps its weights.

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
        layer = label_blocks(network.head)
        labels = [layer.labels(block) for block in range(len(layer))]
        # In tuples, because their buffers are nobody's to share.
        self._loss = (loss,)
        self._losses = (losses_of_blocks(loss, labels),)
        self._labels = labels

    def forward(self, batch: Batch) -> Tensor:
        """The mean loss of a batch: one number."""
        network = self.network
        x_BD = features_for_labels(network, batch.inputs, self._precision)
        layer = label_blocks(network.head)
        given = batch.y_BL if batch.label_rows is None else batch.label_rows
        targets = block_targets(given, self._labels, layer.bias_L.dtype, all_known=batch.all_known)
        weight_B = torch.ones_like(targets.n_true) if batch.weight_B is None else batch.weight_B
        mean = self._over_labels(x_BD, targets, weight_B / len(weight_B))
        if isinstance(network.head, FactorisedHead):
            mean = mean + self._count_term(x_BD, targets, weight_B)
        return mean

    def _over_labels(self, x_BD: Tensor | SparseRows, targets: BlockTargets, weight_B: Tensor) -> Tensor:
        layer, loss, update = label_blocks(self.network.head), self._loss[0], self._update[0]
        features: Features
        if isinstance(x_BD, SparseRows):
            features = SparseFeatures(x_BD, layer.weight_KDC.dtype)
        else:
            features = dense_features(x_BD, layer, self._precision)
        block_loss: BlockLoss
        if isinstance(loss, FactorisedLoss):
            block_loss = SharesOverLabels(targets, weight_B * loss.share_weight)
        elif isinstance(self.network.head, SoftmaxHead):
            block_loss = SharesOverLabels(targets, weight_B)
        elif is_cross_entropy(loss) and targets.all_known:
            block_loss = CrossEntropyOverLabels(targets, weight_B, self._losses[0])
        else:
            block_loss = SumOverLabels(targets, weight_B, self._losses[0])
        dense = x_BD if isinstance(x_BD, Tensor) else None
        weight = None if update is not None and torch.is_grad_enabled() else layer.weight_KDC
        work = _Work(layer, features, block_loss, update)
        value: Tensor = _OverBlocks.apply(dense, weight, layer.bias_L, work)  # type: ignore[no-untyped-call]
        return value

    def _count_term(self, x_BD: Tensor | SparseRows, targets: BlockTargets, weight_B: Tensor) -> Tensor:
        head, loss, layer = self.network.head, self._loss[0], label_blocks(self.network.head)
        assert isinstance(head, FactorisedHead), "asked before"
        assert isinstance(loss, FactorisedLoss), "check_label_chunks() refuses the others"
        x_BD = x_BD.dense().to(layer.bias_L.dtype) if isinstance(x_BD, SparseRows) else x_BD
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

    def run(self, *, weight_gradient: bool) -> tuple[Tensor, Tensor | None, Tensor]:
        """Loss, gradient of the weight or None (then the blocks are updated), gradient of the bias."""
        layer, features, loss = self.layer, self.features, self.loss
        blocks = range(len(layer))
        if loss.looks_first:
            for block in blocks:
                loss.look(layer.logits(features, block), block)
        gradient_KDC = torch.empty_like(layer.weight_KDC) if weight_gradient else None
        bias_gradient_L = torch.empty_like(layer.bias_L)
        update = None if weight_gradient else self.update
        if update is not None:
            update.begin()
        usable = update is None or features.finite()
        for block in blocks:
            at_logits_BC = loss.gradient(layer.logits(features, block), block)
            at_bias_C = bias_gradient_L[layer.labels(block)]
            torch.sum(at_logits_BC, 0, out=at_bias_C)
            at_logits_BC = _filled_up(at_logits_BC, layer.size)
            features.add_gradient(at_logits_BC, layer.weight_KDC[block])
            if gradient_KDC is not None:
                features.outer(at_logits_BC, gradient_KDC[block])
            elif usable and bool((at_bias_C.sum() + loss.value()).isfinite()):
                assert update is not None, "there is no gradient to give"
                update(block, features.outer(at_logits_BC))
            else:
                at_bias_C.fill_(torch.nan)  # so that the loop leaves out the step of everything else
        return loss.value(), gradient_KDC, bias_gradient_L


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
