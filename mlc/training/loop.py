"""The training loop: read this first.

order -> batch -> network -> loss -> step, epoch after epoch;
after each epoch: validate, log, remember the best, save, stop early.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from mlc.batch import Batch, presence
from mlc.data.augment import Augmentation
from mlc.data.dataset import Split
from mlc.errors import Fault, UserError
from mlc.losses.base import Loss
from mlc.model import Network
from mlc.training.evaluation import autocast
from mlc.training.linear_baseline import LinearBaseline, fit_linear
from mlc.training.order import Sampler, epoch_order
from mlc.training.schedules import Schedule
from mlc.training.settings import TrainerSettings, uses_bf16


@dataclass
class Position:
    """How far a run has come; it travels in the checkpoint.

    Args:
        epoch: epochs completed.
        step: optimiser steps taken.
        best_epoch: the epoch after which the monitored metric was best; 0 is the untrained network.
        best_value: that value; None before the first validation.
        train_time_s: seconds spent in training steps, over all sessions of the run.
        valid_time_s: seconds spent in validation, likewise.
    """

    epoch: int = 0
    step: int = 0
    best_epoch: int = 0
    best_value: float | None = None
    train_time_s: float = 0.0
    valid_time_s: float = 0.0


@dataclass(frozen=True)
class StepReport:
    """What happened since the last report: mean loss per example, learning rate, examples per second."""

    step: int
    loss: float
    learning_rate: float
    examples_per_s: float


@dataclass
class Session:
    """Everything that changes while a network trains."""

    network: Network
    loss: Loss
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    settings: TrainerSettings
    seed: int
    device: str
    augment: Augmentation | None = None
    sampler: Sampler | None = None
    position: Position = field(default_factory=Position)

    def state(self) -> dict[str, Any]:
        """All that an exact resume needs, as a tree of tensors and plain values."""
        cuda = [torch.cuda.get_rng_state(self.device)] if self.device != "cpu" else []
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state(),
            "position": asdict(self.position),
            "random": {"cpu": torch.get_rng_state(), "cuda": cuda},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take `state()` back."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.restore(state["schedule"])
        self.position = Position(**state["position"])
        torch.set_rng_state(state["random"]["cpu"])
        if self.device != "cpu" and state["random"]["cuda"]:
            torch.cuda.set_rng_state(state["random"]["cuda"][0], self.device)


def nothing_left(position: Position, settings: TrainerSettings) -> bool:
    """Whether all epochs are done, or the monitored metric has not improved for `patience` epochs."""
    waited = position.epoch - position.best_epoch
    return position.epoch >= settings.max_epochs or (
        settings.patience is not None and waited >= settings.patience
    )


def fit(
    session: Session,
    train: Split,
    *,
    validate: Callable[[], Mapping[str, float]],
    on_step: Callable[[StepReport], None],
    on_epoch: Callable[[Mapping[str, float], bool], None],
) -> None:
    """Train until the last epoch, or until validation stops improving.

    Args:
        session: the network and all that trains it; changed in place.
        train: training split, on the session's device.
        validate: called after each epoch; returns the validation metrics.
        on_step: called every `log_every_steps` steps.
        on_epoch: called after each epoch with the metrics and whether the monitored one is the best so far.
    """
    settings = session.settings
    while not nothing_left(session.position, settings):
        start_s = time.perf_counter()
        if isinstance(settings, LinearBaseline):
            fit_linear(session.network, train, settings)
            session.position.epoch += 1
        else:
            _train_epoch(session, train, on_step)
        trained_s = time.perf_counter()
        metrics = validate()
        session.position.train_time_s += trained_s - start_s
        session.position.valid_time_s += time.perf_counter() - trained_s
        improved = _observe(session, metrics)
        on_epoch(metrics, improved)


def _train_epoch(session: Session, train: Split, on_step: Callable[[StepReport], None]) -> None:
    network, loss, optimizer = session.network, session.loss, session.optimizer
    settings, position = session.settings, session.position
    bf16 = uses_bf16(settings.precision, session.device)
    base_rates = [group["initial_lr"] for group in optimizer.param_groups]
    batches = epoch_order(
        len(train),
        settings.batch_size,
        seed=session.seed,
        epoch=position.epoch,
        lengths_N=train.lengths_N,
        sampler=session.sampler,
    )
    meter = _Meter(session.device)
    network.train()
    for i, rows_B in enumerate(batches):
        factor = session.schedule.factor(position.epoch + (i + 0.5) / len(batches), settings.max_epochs)
        for group, rate in zip(optimizer.param_groups, base_rates, strict=True):
            group["lr"] = rate * factor
        batch = train.select(rows_B.to(session.device, non_blocking=True))
        if session.augment is not None:
            batch = replace(batch, inputs=session.augment(batch.inputs))
        loss_mean = objective(network, loss, batch, bf16=bf16)
        optimizer.zero_grad(set_to_none=True)
        loss_mean.backward()
        if settings.clip_norm is not None:
            clip_grad_norm_(network.parameters(), settings.clip_norm)
        optimizer.step()
        position.step += 1
        meter.add(loss_mean.detach(), len(rows_B))
        if position.step % settings.log_every_steps == 0 or i + 1 == len(batches):
            on_step(meter.report(position.step, optimizer.param_groups[0]["lr"]))
    position.epoch += 1


def objective(network: Network, loss: Loss, batch: Batch, *, bf16: bool) -> Tensor:
    """What a step makes smaller: the mean loss of the batch, and the auxiliary head's where there is one."""
    with autocast(batch.inputs, bf16=bf16):
        outputs = network.training_outputs(batch.inputs)
    mean: Tensor = loss(outputs.main.map_tensors(Tensor.float), batch.y_BL, batch.weight_B).mean()
    beside = network.auxiliary
    if beside is None or outputs.auxiliary is None:
        return mean
    output = outputs.auxiliary.map_tensors(Tensor.float)
    y_BL = batch.y_BL
    if beside.own_targets:
        assert batch.auxiliary_BA is not None, "checked when the run was made"
        y_BL = batch.auxiliary_BA
    if not beside.loss.reads_levels(output):
        y_BL = presence(y_BL)
    beside_mean: Tensor = beside.loss(output, y_BL, batch.weight_B).mean()
    return mean + beside.weight * beside_mean


def _observe(session: Session, metrics: Mapping[str, float]) -> bool:
    """Compare the monitored metric with the best so far; whether it is better."""
    position, settings = session.position, session.settings
    value = metrics.get(settings.monitor)
    if value is not None and math.isnan(value):
        raise Fault(f"the validation metric {settings.monitor} became NaN: lower optimizer.lr")
    if value is None:
        raise UserError(
            f"trainer.monitor={settings.monitor} is not defined on this validation split or for this head: "
            f"choose another metric, for example trainer.monitor=loss"
        )
    sign = settings.monitor_sign
    improved = position.best_value is None or sign * value > sign * position.best_value
    if improved:
        position.best_value, position.best_epoch = value, position.epoch
    session.schedule.observe(improved)
    return improved


class _Meter:
    """Mean loss and rate since the last report; the sum stays on the device until then."""

    def __init__(self, device: str):
        self._loss = torch.zeros((), device=device, dtype=torch.float64)
        self._rows = 0
        self._since_s = time.perf_counter()

    def add(self, loss_mean: Tensor, rows: int) -> None:
        self._loss += loss_mean * rows
        self._rows += rows

    def report(self, step: int, learning_rate: float) -> StepReport:
        loss = float(self._loss) / self._rows
        now_s = time.perf_counter()
        rate = self._rows / max(now_s - self._since_s, 1e-9)
        if not math.isfinite(loss):
            raise Fault(
                f"the training loss became {loss} before step {step}: lower optimizer.lr or set "
                f"trainer.clip_norm; the checkpoint of the last whole epoch is kept"
            )
        self._loss.zero_()
        self._rows, self._since_s = 0, now_s
        return StepReport(step=step, loss=loss, learning_rate=learning_rate, examples_per_s=rate)
