from dataclasses import replace

import pytest
import torch

from mlc.backbones.mlp import MLP
from mlc.batch import LabelStatistics
from mlc.errors import UserError
from mlc.experiment.instantiate import make
from mlc.experiment.shipped import load_shipped
from mlc.heads.base import Head
from mlc.inputs import MAIN, InputSpec
from mlc.losses.base import Loss
from mlc.model import Auxiliary, Network
from mlc.training.label_chunk_check import check_label_chunks
from mlc.training.settings import TrainerSettings

LABELS = LabelStatistics.from_targets(torch.eye(3))


def settings(**changes) -> TrainerSettings:
    made: TrainerSettings = make(load_shipped("trainer", "table"), group="trainer", kind=TrainerSettings)()
    return replace(made, **changes)


def part(group: str, name: str, kind: type, **runtime):
    return make(load_shipped(group, name), group=group, kind=kind)(labels=LABELS, **runtime)


def check(head="sigmoid", loss="binary_cross_entropy", optimizer=torch.optim.Adam, update="in_pass", **more):
    backbone = MLP(
        inputs={MAIN: InputSpec("numbers", (4,))}, widths=[2], input_dropout=0.0, dropout=0.0, norm="none"
    )
    network = Network(backbone=backbone, head=part("head", head, Head, in_features=2))
    if more.pop("auxiliary", False):
        network.auxiliary = Auxiliary(
            feature="layer1",
            head=part("head", "sigmoid", Head, in_features=2),
            loss=part("loss", "binary_cross_entropy", Loss),
            weight=1.0,
        )
    processes = more.pop("processes", 1)
    check_label_chunks(
        settings(**more),
        optimizer(network.parameters(), lr=0.1),
        part("loss", loss, Loss),
        network,
        update=update,
        processes=processes,
    )


@pytest.mark.parametrize(
    ("head", "loss"),
    [
        ("sigmoid", "asymmetric"),
        ("sigmoid", "negative_log_likelihood"),
        ("softmax", "categorical_cross_entropy"),
        ("factorised_poisson", "factorised_kl_poisson"),
    ],
)
def test_what_fits(head, loss):
    check(head, loss)


@pytest.mark.parametrize(
    ("head", "loss", "says"),
    [
        ("conditional_bernoulli", "negative_log_likelihood", "head=sigmoid, softmax or factorised"),
        ("sigmoid", "zlpr", "all labels at once"),
        ("sigmoid", "distribution_balanced", "all labels at once"),
        ("factorised", "factorised_product", "all labels at once"),
        ("softmax", "negative_log_likelihood", "all labels at once"),
    ],
)
def test_heads_and_losses_that_need_all_labels_are_refused(head, loss, says):
    with pytest.raises(UserError, match=says):
        check(head, loss)


REFUSED = [
    {"clip_norm": 1.0},
    {"clip_value": 1.0},
    {"micro_batch_size": 8},
    {"precision": "fp16"},
    {"ema_decay": 0.999},
    {"processes": 2},
    {"optimizer": torch.optim.RMSprop},
]


@pytest.mark.parametrize("options", REFUSED, ids=str)
def test_what_needs_the_whole_gradient_goes_with_a_step_after_the_pass(options):
    with pytest.raises(UserError, match=r"trainer\.label_update=at_step"):
        check(**options)
    check(update="at_step", **options)


def test_an_auxiliary_head_is_refused():
    with pytest.raises(UserError, match="auxiliary=none"):
        check(auxiliary=True)
