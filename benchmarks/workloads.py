"""The work that everyone is measured on: W1 to W5, seeded synthetic data of real shapes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Tensors = Mapping[str, Tensor]

_TABLE = ("trainer=table", "schedule=cosine", "head.prior_bias=false", "trainer.monitor=loss")


@dataclass(frozen=True)
class Workload:
    """One shape of work.

    Args:
        name: "W1" to "W5".
        what: one line for the table.
        rows: training rows.
        valid_rows: validation rows.
        labels: L.
        batch: rows of a step.
        make: from the number of rows and a generator to the inputs, all with that many rows.
        turn_steps: steps that a contender takes before it is the other's turn: about half a second.
        positives: labels per row.
        overrides: what makes `mlc.train` train the same network.
        pairs_times: how often it is measured where others are once; the shorter its turns, the more.
    """

    name: str
    what: str
    rows: int
    valid_rows: int
    labels: int
    batch: int
    make: Callable[[int, torch.Generator], Tensors]
    turn_steps: int
    positives: int
    overrides: tuple[str, ...]
    pairs_times: int = 1

    @property
    def steps_per_epoch(self) -> int:
        """Batches that an epoch has."""
        return -(-self.rows // self.batch)

    def samples(self, step: int) -> int:
        """Rows of the batch of a step; the first step is 1. Only the last of an epoch may be smaller."""
        if step % self.steps_per_epoch:
            return self.batch
        return self.rows - (self.steps_per_epoch - 1) * self.batch


def _numbers(width: int) -> Callable[[int, torch.Generator], Tensors]:
    return lambda rows, generator: {"x": torch.randn(rows, width, generator=generator)}


def _pictures(rows: int, generator: torch.Generator) -> Tensors:
    return {"x": torch.rand(rows, 1, 28, 56, generator=generator)}


def _texts(rows: int, generator: torch.Generator) -> Tensors:
    tokens = torch.randint(1, 10_000, (rows, 100), generator=generator)  # 0 is padding, and none is needed
    return {"x": tokens, "side": torch.randn(rows, 5, generator=generator)}


def _words(rows: int, generator: torch.Generator) -> Tensors:
    # Each row takes one word of every stretch of the vocabulary: no word twice, and no Python loop.
    stretch = 5_000 // 270
    ids = torch.arange(270) * stretch + torch.randint(0, stretch, (rows, 270), generator=generator)
    values = torch.rand(rows, 270, generator=generator)
    return {"x": ids, "values": values / values.norm(dim=1, keepdim=True)}


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload(
            "W1",
            "small table 1,500 x 103, 14 labels, MLP 256-256, batch 64",
            rows=1_500,
            valid_rows=500,
            labels=14,
            batch=64,
            make=_numbers(103),
            turn_steps=24 * 20,
            positives=4,
            overrides=(
                *_TABLE,
                "backbone=mlp",
                "backbone.widths=[256,256]",
                "backbone.dropout=0",
                "trainer.batch_size=64",
            ),
            pairs_times=4,
        ),
        Workload(
            "W2",
            "wide MLP 1,600-1,200-800 on 20,000 x 500, 100 labels, batch 64",
            rows=20_032,
            valid_rows=2_000,
            labels=100,
            batch=64,
            make=_numbers(500),
            turn_steps=30,
            positives=4,
            overrides=(*_TABLE, "backbone=wide_mlp", "trainer.batch_size=64"),
        ),
        Workload(
            "W3",
            "CNN 32-64 with batch norm on 1x28x56 pictures, 10 labels, batch 128",
            rows=6_016,
            valid_rows=1_000,
            labels=10,
            batch=128,
            make=_pictures,
            turn_steps=8,
            positives=2,
            overrides=(
                *_TABLE,
                "backbone=cnn",
                "backbone.channels=[32,64]",
                "backbone.halvings=1",
                "backbone.dropout=0",
                "trainer.batch_size=128",
            ),
        ),
        Workload(
            "W4",
            "LSTM 32 over 100 tokens of 10,000 x 512, five side inputs, an auxiliary loss, batch 32",
            rows=8_000,
            valid_rows=1_000,
            labels=20,
            batch=32,
            make=_texts,
            turn_steps=25,
            positives=3,
            overrides=(
                *_TABLE,
                "backbone=lstm",
                "backbone.embedding=512",
                "backbone.width=32",
                "backbone.bidirectional=false",
                "backbone.pooling=last",
                "backbone.embedding_dropout=0",
                "backbone.dropout=0",
                "auxiliary=sigmoid",
                "auxiliary.feature=encoder",
                "auxiliary.weight=0.2",
                "join=dense",
                "join.feature=pooled",
                "join.widths=[64,64,64]",
                "join.dropout=0",
                "trainer.batch_size=32",
            ),
        ),
        Workload(
            "W5",
            "sparse bag of 5,000 words, 270 a row, 4,000 labels, linear, batch 128",
            rows=8_064,
            valid_rows=1_000,
            labels=4_000,
            batch=128,
            make=_words,
            turn_steps=10,
            positives=5,
            overrides=(*_TABLE, "backbone=linear", "trainer.batch_size=128"),
        ),
    )
}
