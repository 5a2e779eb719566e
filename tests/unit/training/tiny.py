"""A tiny problem: four numbers, three labels, linear up to noise."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mlc.backbones.mlp import MLP
from mlc.batch import LabelStatistics
from mlc.calibration.platt import Platt
from mlc.data.dataset import Dataset, Split
from mlc.decisions.thresholds import PerLabelThreshold
from mlc.eager_optimizer import eager
from mlc.heads.sigmoid import SigmoidHead
from mlc.inputs import InputSpec
from mlc.losses.base import Loss
from mlc.losses.binary_cross_entropy import BinaryCrossEntropy
from mlc.model import Classifier, Network
from mlc.training.loop import BadStep, Callbacks, StepReport, fit
from mlc.training.order import Sampler
from mlc.training.schedules import Constant
from mlc.training.session import Session
from mlc.training.settings import TrainerSettings
from tests.contract.grid import options, target

FEATURES, LABELS = 4, 3
INPUTS = {"x": InputSpec("numbers", (FEATURES,))}
NAMES = ("plain", "größe", 'quote " comma , pipe |\nline')


def split(rows: int = 31, seed: int = 0) -> Split:
    generator = torch.Generator().manual_seed(seed)
    x_ND = torch.randn(rows, FEATURES, generator=generator)
    noise_NL = torch.randn(rows, LABELS, generator=generator)
    weight_DL = torch.tensor([[2.0, -1, 0], [0, 1, 1], [-1, 0, 2], [1, 1, -1]])
    return Split(inputs={"x": x_ND}, y_NL=(x_ND @ weight_DL + noise_NL > 0.3).float())


def dataset() -> Dataset:
    return Dataset(
        name="tiny", label_names=NAMES, train=split(), valid=split(23, 1), test=split(17, 2), preparation={}
    )


def statistics() -> LabelStatistics:
    return LabelStatistics.from_targets(split().y_NL)


def settings(**changes: Any) -> TrainerSettings:
    values: dict[str, Any] = {
        "max_epochs": 4,
        "batch_size": 6,
        "eval_batch_size": 5,
        "device": "cpu",
        "precision": "fp32",
        "clip_norm": None,
        "sampling": "all",
        "monitor": "loss",
        "patience": None,
        "log_every_steps": 2,
        "separate_fit": False,
        "checkpoint_pause_s": 0.0,
        "memory_limit_mb": 100.0,
    }
    return TrainerSettings(**(values | changes))


def network(seed: int = 0) -> Network:
    """With all that makes an exact resume hard: dropout, and running statistics."""
    torch.manual_seed(seed)
    backbone = MLP(inputs=INPUTS, widths=[8], input_dropout=0.1, dropout=0.3, norm="batch")
    head = SigmoidHead(in_features=8, labels=statistics(), prior_bias=True)
    return Network(backbone=backbone, head=head)


def loss() -> Loss:
    return BinaryCrossEntropy(
        labels=statistics(), positive_weight=2.0, max_positive_weight=10.0, label_weight="equal"
    )


def classifier(seed: int = 0) -> Classifier:
    return Classifier(
        network=network(seed),
        loss=loss(),
        calibrator=Platt(n_labels=LABELS),
        decision=PerLabelThreshold(n_labels=LABELS),
    )


def optimizer(of: nn.Module, name: str = "sgd", **changes: Any) -> torch.optim.Optimizer:
    """A shipped optimiser, prepared as a run does."""
    kind = eager(target("optimizer", name))
    made: torch.optim.Optimizer = kind(params=list(of.parameters()), **options("optimizer", name))
    for group in made.param_groups:
        group.update(changes)
        group["initial_lr"] = group["lr"]
    return made


def session(
    *,
    optimizer_name: str = "sgd",
    lr: float = 0.05,
    seed: int = 0,
    net: Network | None = None,
    of_loss: Loss | None = None,
    sampler: Sampler | None = None,
    **changes: Any,
) -> Session:
    """A session on the tiny problem; what is not named here changes the settings."""
    net = net or network(seed)
    torch.manual_seed(seed)
    return Session(
        network=net,
        loss=of_loss or loss(),
        optimizer=optimizer(net, optimizer_name, lr=lr),
        schedule=changes.pop("schedule", Constant(warmup_epochs=0.0)),
        settings=settings(**changes),
        seed=seed,
        device="cpu",
        sampler=sampler,
    )


def unexpected(bad: BadStep) -> None:
    """What is told of a step that was left out, where none should be."""
    raise AssertionError(f"step {bad.step} was left out")


def train(
    session: Session,
    rows: Split | None = None,
    *,
    validate: Callable[[], Mapping[str, float]] = lambda: {"loss": 1.0},
    report: Callable[[StepReport], None] = lambda _: None,
    bad_step: Callable[[BadStep], None] = unexpected,
    after_step: Callable[[], None] = lambda: None,
    epoch: Callable[[Mapping[str, float], bool], None] = lambda *_: None,
) -> None:
    """Train a session to its end; who is told nothing hears nothing."""
    tell = Callbacks(validate=validate, report=report, bad_step=bad_step, after_step=after_step, epoch=epoch)
    fit(session, rows or split(), tell)


def bits(state: Any) -> Any:
    """A state as something that compares bit for bit, without the times."""
    if isinstance(state, Tensor):
        return (state.dtype, state.shape, state.reshape(-1).view(torch.uint8).tolist())
    if isinstance(state, dict):
        return {key: bits(value) for key, value in state.items() if not str(key).endswith("_time_s")}
    if isinstance(state, list | tuple):
        return [bits(value) for value in state]
    return state
