"""A loss taken block by block: its value, and its gradient at the logits of a block of labels."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from mlc.losses.base import Loss
from mlc.losses.binary_cross_entropy import BinaryCrossEntropy
from mlc.losses.negative_log_likelihood import NegativeLogLikelihood
from mlc.outputs.independent import IndependentLabels
from mlc.training.label_parts import of_labels
from mlc.training.label_targets import BlockTargets


class BlockLoss(ABC):
    """Σ_b w_b loss_b of a batch, taken a block of labels after the other.

    Args:
        targets: of the batch.
        weight_B: w, what the gradient of each row counts.
    """

    looks_first = False
    """Whether `look` must have seen all blocks before the first gradient is taken."""

    def __init__(self, targets: BlockTargets, weight_B: Tensor):
        self._targets = targets
        self._weight_B = weight_B
        self._value_B = torch.zeros_like(weight_B)

    def look(self, logits_BC: Tensor, block: int) -> None:  # noqa: B027 - most losses need no first look
        """A first look at the logits of a block."""

    def looked(self) -> None:  # noqa: B027 - likewise
        """All blocks have been looked at."""

    @abstractmethod
    def gradient(self, logits_BC: Tensor, block: int) -> Tensor:
        """B×C gradient at the logits of a block, whose loss is added to the value."""

    def value(self) -> Tensor:
        """The loss, a scalar, once the gradient of every block has been taken."""
        return self._weight_B @ self._value_B


class SumOverLabels(BlockLoss):
    """Any loss that is a sum over labels: the loss of a block is that of a network with these labels alone.

    Args:
        targets: of the batch.
        weight_B: w.
        losses: the loss of each block, see `losses_of_blocks`.
    """

    def __init__(self, targets: BlockTargets, weight_B: Tensor, losses: Sequence[Loss]):
        super().__init__(targets, weight_B)
        self._losses = losses

    def gradient(self, logits_BC: Tensor, block: int) -> Tensor:
        """By autograd, from dense targets of the block."""
        with torch.enable_grad():
            logits_BC = logits_BC.detach().requires_grad_()
            value_B = self._losses[block](IndependentLabels(logits_BC), self._targets.dense(block))
            # Of one number: for more, torch imports sympy, which takes a second.
            (gradient_BC,) = torch.autograd.grad(self._weight_B @ value_B, logits_BC)
        self._value_B += value_B.detach()
        return gradient_BC


class CrossEntropyOverLabels(BlockLoss):
    """Binary cross-entropy of sparse targets: all labels as if false, then what changes where one is true.

    With t₀ = s/2 and t₁ = 1 - s/2 the smoothed targets, w the positive and a the label weights, the gradient
    of a false label is a [(1 - t₀ + w t₀) σ(z) - w t₀]; a true one adds -a (1 - s) [w (1 - σ(z)) + σ(z)]. So
    one pass of σ gives the gradient of the block, and no dense target is made.

    Args:
        targets: of the batch; all of them known.
        weight_B: w.
        losses: the loss of each block; of a negative log-likelihood all weights are 1.
    """

    def __init__(self, targets: BlockTargets, weight_B: Tensor, losses: Sequence[Loss]):
        super().__init__(targets, weight_B)
        self._losses = losses

    def gradient(self, logits_BC: Tensor, block: int) -> Tensor:
        """In closed form."""
        loss = self._losses[block]
        smoothing, w_C, a_C = 0.0, None, None
        if isinstance(loss, BinaryCrossEntropy):
            smoothing, w_C, a_C = loss.label_smoothing, loss.positive_weight_L, loss.label_weight_L
        row_P, column_P = self._targets.true(block)
        true_P = logits_BC[row_P, column_P]
        w_P = 1.0 if w_C is None else w_C[column_P]
        a_P = 1.0 if a_C is None else a_C[column_P]

        soft_BC = _softplus(logits_BC)
        if smoothing and w_C is not None:
            soft_BC = soft_BC * (1 - smoothing / 2 + w_C * smoothing / 2) - logits_BC * (w_C * smoothing / 2)
        self._value_B += soft_BC.sum(1) if a_C is None else soft_BC @ a_C.to(soft_BC.dtype)
        extra_P = w_P * _softplus(-true_P) - _softplus(true_P)
        self._value_B.index_add_(0, row_P, (a_P * (1 - smoothing) * extra_P).to(true_P.dtype))

        p_BC = torch.sigmoid(logits_BC)
        p_P = torch.sigmoid(true_P)
        if smoothing and w_C is not None:
            p_BC.mul_(1 - smoothing / 2 + w_C * smoothing / 2).sub_(w_C * smoothing / 2)
        if a_C is not None:
            p_BC.mul_(a_C)
        step_P = a_P * (1 - smoothing) * (w_P * (1 - p_P) + p_P)
        p_BC.index_put_((row_P, column_P), -step_P.to(p_BC.dtype), accumulate=True)
        return p_BC.mul_(self._weight_B[:, None])


def _softplus(z: Tensor) -> Tensor:
    """log(1 + exp(z)); PyTorch's own function of this name is slower, and cuts off at a threshold."""
    return -F.logsigmoid(-z)


class SharesOverLabels(BlockLoss):
    """Cross-entropy of softmax shares against y / n, in two passes over the blocks.

    The first pass adds up the row's normaliser log Σ exp z; the second has the gradient
    softmax(z) - y / n. A row without known true labels has neither loss nor gradient, and unknown labels are
    no part of the softmax.

    Args:
        targets: of the batch.
        weight_B: w.
        over_all: makes of log Σ exp z over the labels that were looked at that over all labels, where others
            are elsewhere.

    Source: the running log-sum-exp over blocks of labels is that of Wijmans, Huval, Hertzberg, Koltun &
        Krähenbühl, "Cut your losses in large-vocabulary language models", ICLR 2025.
    Differs: no gradient is left out for being small, so it is exact.
    """

    looks_first = True

    def __init__(
        self, targets: BlockTargets, weight_B: Tensor, over_all: Callable[[Tensor], Tensor] | None = None
    ):
        super().__init__(targets, weight_B)
        self._over_all = over_all
        self._log_sum_B = torch.full_like(weight_B, -torch.inf)
        self._some_B = targets.n_true > 0
        self._share_B = self._some_B / targets.n_true.clamp(min=1)

    def look(self, logits_BC: Tensor, block: int) -> None:
        """Add to the normaliser."""
        log_sum_B = self._known(logits_BC, block).logsumexp(1)
        self._log_sum_B = torch.logaddexp(self._log_sum_B, log_sum_B)

    def looked(self) -> None:
        """The normaliser is complete."""
        if self._over_all is not None:
            self._log_sum_B = self._over_all(self._log_sum_B)

    def gradient(self, logits_BC: Tensor, block: int) -> Tensor:
        """softmax(z) - y / n, for rows with labels."""
        row_P, column_P = self._targets.true(block)
        log_p_BC = self._known(logits_BC, block) - self._log_sum_B[:, None]
        share_P = self._share_B[row_P]
        self._value_B.index_add_(0, row_P, -share_P * log_p_BC[row_P, column_P])
        gradient_BC = log_p_BC.exp_().mul_(self._some_B[:, None])
        gradient_BC.index_put_((row_P, column_P), -share_P, accumulate=True)
        return gradient_BC.mul_(self._weight_B[:, None])

    def _known(self, logits_BC: Tensor, block: int) -> Tensor:
        unknown_BC = self._targets.unknown(block)
        if unknown_BC is None:
            return logits_BC
        return logits_BC.masked_fill(unknown_BC, torch.finfo(logits_BC.dtype).min)


def losses_of_blocks(loss: Loss, labels: Sequence[slice]) -> list[Loss]:
    """The same loss of some labels only, for each block."""
    return [of_labels(loss, block) for block in labels]


def is_cross_entropy(loss: Loss) -> bool:
    """Whether a loss of independent labels is a binary cross-entropy, which has a closed form."""
    return isinstance(loss, BinaryCrossEntropy | NegativeLogLikelihood)
