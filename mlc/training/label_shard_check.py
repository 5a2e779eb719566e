"""What labels in shards can be combined with; everything else is refused before training starts."""

import math
from typing import Literal

import torch

from mlc.errors import UserError
from mlc.training.memory_light import Adafactor


def check_label_shards(n_labels: int, size: int, *, processes: int) -> None:
    """Check that chunks of labels can be dealt out.

    Args:
        n_labels: L.
        size: labels of a chunk.
        processes: how many there are.

    Raises:
        UserError: there is one process, or one that would get no chunk.
    """
    if processes == 1:
        raise UserError(
            "trainer.label_shards=true deals the labels out to several processes, and this is the only one: "
            "start it by torchrun --nproc-per-node=2 -m mlc.train ..., or set trainer.label_shards=false"
        )
    chunks = math.ceil(n_labels / size)
    if chunks < processes:
        smaller = f"start a new run with trainer.label_chunk={n_labels // processes} or fewer"
        raise UserError(
            f"trainer.label_shards=true has {chunks} {'chunk' if chunks == 1 else 'chunks'} of labels for "
            f"{processes} processes: {smaller if n_labels >= processes else 'start fewer processes'}, or set "
            f"trainer.label_shards=false"
        )


def check_sharded_step(optimizer: torch.optim.Optimizer, *, update: Literal["in_pass", "at_step"]) -> None:
    """Check that an optimiser's step of a shard is what it would be among all labels.

    Raises:
        UserError: one sentence that says what does not go together, and what does.
    """
    if update != "in_pass":
        raise UserError(
            "trainer.label_shards=true has the gradient of all labels nowhere: set "
            "trainer.label_update=in_pass, or trainer.label_shards=false"
        )
    if isinstance(optimizer, Adafactor):
        raise UserError(
            "optimizer=adafactor holds back the step of the biases by the mean over all of them, and "
            "trainer.label_shards=true has them in several processes: choose optimizer=row_adagrad or "
            "light_adam, or set trainer.label_shards=false"
        )
