"""In which order rows are trained on and evaluated."""

from typing import Protocol

import torch
from torch import Tensor

_WINDOW_BATCHES = 50  # rows are sorted by length within this many batches


class Sampler(Protocol):
    """What decides which rows an epoch has."""

    def draw(self, n_rows: int, generator: torch.Generator) -> Tensor:
        """The rows of an epoch in random order: n_rows int64 indices; a row may occur more than once."""
        ...


def epoch_order(
    n_rows: int,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    lengths_N: Tensor | None = None,
    sampler: Sampler | None = None,
) -> list[Tensor]:
    """The batches of one epoch, as row indices; a function of seed and epoch, so that resume needs no state.

    A last batch of a single row joins the one before, because batch normalisation cannot train on one row.

    Args:
        n_rows: rows of the training split.
        batch_size: rows of a batch.
        seed, epoch: which order.
        lengths_N: how long each row is, where rows are padded to the longest of their batch. Then a batch has
            rows of about the same length: the shuffled rows are sorted within windows of 50 batches, and the
            batches are shuffled.
        sampler: draws the rows; None takes each once.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    if sampler is None:
        order_N = torch.randperm(n_rows, generator=generator)
    else:
        order_N = sampler.draw(n_rows, generator)
    if lengths_N is not None:
        order_N = _sorted_in_windows(order_N, lengths_N.cpu(), _WINDOW_BATCHES * batch_size)
    batches = list(order_N.split(batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    if lengths_N is not None:
        batches = [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]
    return batches


def evaluation_order(lengths_N: Tensor) -> Tensor:
    """All rows, the shortest first, so that batches need little padding; int64 indices."""
    return torch.argsort(lengths_N, stable=True)


def _sorted_in_windows(order_N: Tensor, lengths_N: Tensor, window: int) -> Tensor:
    windows = [rows[torch.argsort(lengths_N[rows], stable=True)] for rows in order_N.split(window)]
    return torch.cat(windows)
