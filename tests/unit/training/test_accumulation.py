"""Gradients that are added up over micro batches are those of the whole batch."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from mlc.backbones.mlp import MLP
from mlc.batch import LabelStatistics
from mlc.data.dataset import Split
from mlc.heads.sigmoid import SigmoidHead
from mlc.losses.binary_cross_entropy import BinaryCrossEntropy
from mlc.model import Auxiliary, Network
from mlc.training.session import Session
from tests.contract.grid import names
from tests.unit.training import tiny

ROWS = 20  # three batches of 6 and one of 2; by 4 each of the larger ones is cut into 4 and 2


def loss() -> BinaryCrossEntropy:
    return BinaryCrossEntropy(
        labels=tiny.statistics(), positive_weight=2.0, max_positive_weight=9.0, label_weight="equal"
    ).double()


def rows(*, hard: bool) -> Split:
    """Float64 rows; the hard ones have weights, unknown targets, and targets for an auxiliary head."""
    split = tiny.split(ROWS)
    x, y_NL = split.inputs["x"], split.y_NL.double()
    assert isinstance(x, Tensor)
    if not hard:
        return Split(inputs={"x": x.double()}, y_NL=y_NL)
    generator = torch.Generator().manual_seed(5)
    y_NL[torch.rand(y_NL.shape, generator=generator) < 0.3] = math.nan
    y_NL[3] = math.nan
    weight_N = torch.rand(ROWS, generator=generator, dtype=torch.float64)
    weight_N[7] = 0
    own_NA = (torch.rand(ROWS, 2, generator=generator) < 0.4).double()
    own_NA[2, 1] = math.nan
    return Split(
        inputs={"x": x.double()}, y_NL=y_NL, weight_N=weight_N / weight_N.mean(), auxiliary_NA=own_NA
    )


def network(split: Split) -> Network:
    torch.manual_seed(0)
    backbone = MLP(inputs=tiny.INPUTS, widths=[6, 5], input_dropout=0.0, dropout=0.0, norm="layer")
    head = SigmoidHead(in_features=5, labels=tiny.statistics(), prior_bias=False)
    if split.auxiliary_NA is None:
        return Network(backbone=backbone, head=head).double()
    own = LabelStatistics.from_targets(split.auxiliary_NA)
    auxiliary = Auxiliary(
        feature="layer1",
        head=SigmoidHead(in_features=6, labels=own, prior_bias=False),
        loss=BinaryCrossEntropy(
            labels=own, positive_weight=1.0, max_positive_weight=9.0, label_weight="equal"
        ).double(),
        weight=0.3,
        own_targets=True,
    )
    return Network(backbone=backbone, head=head, auxiliary=auxiliary).double()


def trained(split: Split, optimizer: str, micro: int | None, **changes: Any) -> tuple[Session, list[float]]:
    session = tiny.session(
        optimizer_name=optimizer,
        net=network(split),
        of_loss=loss(),
        max_epochs=2,
        log_every_steps=1,
        micro_batch_size=micro,
        **changes,
    )
    losses: list[float] = []
    tiny.train(session, split, report=lambda report: losses.append(report.loss))
    return session, losses


# Without the one that rounds its state to bfloat16, where the last bit of a gradient shows.
OPTIMIZERS = sorted({*names("optimizer")} - {"light_adam"})


@pytest.mark.parametrize(("optimizer", "hard"), [*((name, True) for name in OPTIMIZERS), ("sgd", False)])
def test_it_equals_the_whole_batch(optimizer: str, hard: bool) -> None:
    split = rows(hard=hard)
    whole, losses = trained(split, optimizer, None, clip_norm=0.5, ema_decay=0.9)
    # 4 leaves parts of 2; 5 leaves a single row, which joins the part before.
    for micro in (1, 4, 5):
        cut, losses_cut = trained(split, optimizer, micro, clip_norm=0.5, ema_decay=0.9)
        assert losses_cut == pytest.approx(losses, rel=1e-6), "losses are taken in float32"
        for ours, theirs in ((cut.network, whole.network), (cut.evaluated, whole.evaluated)):
            for value, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
                torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("micro", "sizes"),
    [
        (None, [6, 6, 6, 2]),
        (4, [4, 2, 4, 2, 4, 2, 2]),
        (5, [6, 6, 6, 2]),
        (1, [1] * ROWS),
        (2, [2] * 10),
        (3, [3, 3, 3, 3, 3, 3, 2]),
    ],
)
def test_no_more_rows_go_through_the_network_than_it_says_but_a_last_single_one(
    micro: int | None, sizes: list[int]
) -> None:
    session, seen = tiny.session(net=network(rows(hard=False)), max_epochs=1, micro_batch_size=micro), []
    session.network.head.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    tiny.train(session, rows(hard=False))
    assert seen == sizes


def test_batch_normalisation_never_sees_a_single_row() -> None:
    session, seen = tiny.session(max_epochs=1, micro_batch_size=5), []
    session.network.head.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    tiny.train(session)  # 31 rows
    assert seen == [6, 6, 6, 6, 5, 2]
