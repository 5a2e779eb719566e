"""What label chunks can be combined with; everything else is refused before training starts."""

from typing import Literal

import torch
from torch import nn

from mlc.errors import UserError
from mlc.heads.base import Head
from mlc.heads.factorised import FactorisedHead
from mlc.heads.softmax import SoftmaxHead
from mlc.losses.base import Loss
from mlc.losses.categorical_cross_entropy import CategoricalCrossEntropy
from mlc.losses.factorised import FactorisedLoss
from mlc.model import Network
from mlc.outputs.independent import IndependentLabels
from mlc.training import processes
from mlc.training.label_chunks import LabelChunks, cut_into_blocks, label_blocks, layer_name
from mlc.training.label_layer import LabelBlocks, block_size
from mlc.training.label_shard_check import check_label_shards, check_sharded_step
from mlc.training.label_shard_states import keep_shards
from mlc.training.label_update import BlockUpdate, can_update_blocks, keep_blocks
from mlc.training.option_names import option_name
from mlc.training.settings import TrainerSettings


def cut_labels(network: Network, chunk: int | Literal["auto"], *, sharded: bool = False) -> None:
    """Cut the label layer of a network into blocks; comes before its optimiser is made.

    Args:
        network: on its device.
        chunk: labels of a block; "auto" follows a fixed rule.
        sharded: whether each process keeps its share of the blocks only.

    Raises:
        UserError: its head cannot be taken apart, or not among so many processes.
    """
    layer = _label_layer(network.head)
    size = min(auto_chunk(network) if chunk == "auto" else chunk, layer.out_features)
    if sharded:
        check_label_shards(layer.out_features, size, processes=processes.size())
        processes.share(parameter.detach() for parameter in layer.parameters())
    cut_into_blocks(network.head, size=size, sharded=sharded)


def auto_chunk(network: Network, *, processes: int = 1) -> int:
    """The labels of a chunk that trainer.label_chunk=auto means.

    Args:
        network: whose label layer may have been cut or not.
        processes: among which the chunks are dealt out.

    Raises:
        UserError: its head cannot be taken apart.
    """
    layer = _label_layer(network.head)
    return block_size(layer.in_features, layer.out_features, processes=processes)


def label_chunks(
    network: Network,
    loss: Loss,
    optimizer: torch.optim.Optimizer,
    settings: TrainerSettings,
    *,
    processes: int,
) -> LabelChunks:
    """The objective of a network whose labels have been cut, as its settings want it.

    Raises:
        UserError: see `check_label_chunks`.
    """
    check_label_chunks(settings, optimizer, loss, network, update=settings.label_update, processes=processes)
    layer = label_blocks(network.head)
    keep_blocks(optimizer, layer)
    if layer.sharded:
        keep_shards(optimizer, layer)
    update = BlockUpdate(optimizer, layer) if settings.label_update == "in_pass" else None
    return LabelChunks(network, loss, precision=settings.precision, update=update)


def check_label_chunks(
    settings: TrainerSettings,
    optimizer: torch.optim.Optimizer,
    loss: Loss,
    network: Network,
    *,
    update: Literal["in_pass", "at_step"],
    processes: int = 1,
) -> None:
    """Check that a network can be trained in label chunks with these settings.

    Args:
        settings: of the loop.
        optimizer: of the network.
        loss: of its head.
        network: before or after its layer has been cut.
        update: "in_pass" takes the optimiser's step of a chunk as soon as its gradient is there; "at_step"
            leaves the gradients to the loop, with everything that needs all of them.
        processes: how many train together.

    Raises:
        UserError: one sentence that says what does not go together, and what does.
    """
    _check_head_and_loss(network.head, loss)
    if network.auxiliary is not None:
        raise UserError("trainer.label_chunk does not go with an auxiliary head: set auxiliary=none")
    if settings.label_shards:
        check_sharded_step(optimizer, update=update)
    if update == "at_step":
        return
    for option, why in _needs_whole_gradient(settings, processes).items():
        raise UserError(
            f"{option} {why}, and trainer.label_update=in_pass takes the step of a label chunk as soon as "
            f"its gradient is there: set trainer.label_update=at_step or leave {option} away"
        )
    if not can_update_blocks(optimizer):
        raise UserError(
            f"{option_name(optimizer)} with these options cannot take its step chunk by chunk: set "
            f"trainer.label_update=at_step, or choose optimizer=adam, adamw, sgd, adagrad, light_adam, "
            f"row_adagrad or adafactor"
        )


def check_label_head(head: Head) -> None:
    """Check that the labels of a head can be taken apart.

    Raises:
        UserError: one sentence that names the heads whose labels can.
    """
    if layer_name(head) is None:
        raise UserError(
            f"trainer.label_chunk does not go with {option_name(head)}, whose labels cannot be taken apart: "
            f"choose head=sigmoid, softmax or factorised, or set trainer.label_chunk=null"
        )


def _label_layer(head: Head) -> nn.Linear | LabelBlocks:
    check_label_head(head)
    layer: nn.Linear | LabelBlocks = getattr(head, str(layer_name(head)))
    return layer


def _check_head_and_loss(head: Head, loss: Loss) -> None:
    check_label_head(head)
    if isinstance(head, FactorisedHead):
        fits = isinstance(loss, FactorisedLoss)
    elif isinstance(head, SoftmaxHead):
        fits = isinstance(loss, CategoricalCrossEntropy)
    else:
        fits = IndependentLabels in loss.sums_over_labels
    if not fits:
        raise UserError(
            f"trainer.label_chunk does not go with {option_name(loss)} on {option_name(head)}, which needs "
            f"all labels at once: set trainer.label_chunk=null, or choose a loss that is a sum over "
            f"labels (loss=binary_cross_entropy, focal, asymmetric, hill, squared_error), "
            f"loss=categorical_cross_entropy with head=softmax, or a loss=factorised_kl_... with its head"
        )


def _needs_whole_gradient(settings: TrainerSettings, processes: int) -> dict[str, str]:
    """The options in use that need the gradient of all labels, and why."""
    found = {}
    if settings.clip_norm is not None:
        found["trainer.clip_norm"] = "needs the norm of the whole gradient"
    if settings.clip_value is not None:
        found["trainer.clip_value"] = "changes the gradient before the step"
    if settings.micro_batch_size is not None and settings.micro_batch_size < settings.batch_size:
        found["trainer.micro_batch_size"] = "adds up gradients before the step"
    if settings.precision == "fp16":
        found["trainer.precision=fp16"] = "scales the loss and looks at the gradient before the step"
    if settings.ema_decay is not None:
        found["trainer.ema_decay"] = "passes over all weights after the step"
    if processes > 1 and not settings.label_shards:
        found["training in several processes without trainer.label_shards=true"] = (
            "adds up their gradients before the step"
        )
    return found
