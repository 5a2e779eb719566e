"""Everything that changes while a network trains, and how it is kept and taken back."""

import contextlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mlc.batch import Batch
from mlc.data.augment import Augmentation
from mlc.losses.base import Loss
from mlc.model import Network
from mlc.training import processes
from mlc.training.average import WeightAverage
from mlc.training.label_chunk_check import label_chunks
from mlc.training.label_chunks import LabelChunks
from mlc.training.objective import Objective
from mlc.training.order import Sampler
from mlc.training.schedules import Schedule
from mlc.training.settings import TrainerSettings
from mlc.training.step import Stepper


@dataclass
class Position:
    """How far a run has come; it travels in the checkpoint.

    Args:
        epoch: epochs completed, their validation included.
        batch: batches done of the epoch after them.
        step: optimiser steps taken or left out.
        ranked: epoch and monitored value of the best networks, the best first; epoch 0 is the untrained one.
        bad_steps: steps left out because they were not finite.
        bad_in_a_row: those of them since the last good step.
        train_time_s: seconds spent in training steps, over all sessions of the run.
        valid_time_s: seconds spent in validation, likewise.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    ranked: list[tuple[int, float | None]] = field(default_factory=lambda: [(0, None)])
    bad_steps: int = 0
    bad_in_a_row: int = 0
    train_time_s: float = 0.0
    valid_time_s: float = 0.0

    @property
    def best_epoch(self) -> int:
        """The epoch after which the monitored metric was best; 0 is the untrained network."""
        return self.ranked[0][0]

    @property
    def best_value(self) -> float | None:
        """That value; None before the first validation."""
        return self.ranked[0][1]

    def improves(self, value: float, sign: int) -> bool:
        """Whether a monitored value is better than all before (`sign` +1: larger is better)."""
        return self.best_value is None or sign * value > sign * self.best_value

    def rank(self, value: float, *, sign: int, keep: int) -> bool:
        """Rank this epoch's network among the `keep` best, of equals the first; whether it is one of them."""
        measured = [(epoch, old) for epoch, old in self.ranked if old is not None]
        ranked = sorted(
            [*measured, (self.epoch, value)], key=lambda item: (-sign * (item[1] or 0.0), item[0])
        )
        self.ranked = list(ranked[:keep])
        return any(epoch == self.epoch for epoch, _ in self.ranked)

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> "Position":
        """A position from a checkpoint."""
        return cls(**{**state, "ranked": [(int(epoch), value) for epoch, value in state["ranked"]]})


class Session:
    """A network and all that trains it.

    Args:
        network: on the device.
        loss: of its main head.
        optimizer: of its parameters; every group has "initial_lr".
        schedule: of the learning rate.
        settings: of the loop; its precision is decided.
        seed: of the order of the rows.
        device: where the network is.
        augment: changes the inputs of training batches, or None.
        sampler: draws the rows of an epoch, or None for all of them.
    """

    def __init__(
        self,
        *,
        network: Network,
        loss: Loss,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        settings: TrainerSettings,
        seed: int,
        device: str,
        augment: Augmentation | None = None,
        sampler: Sampler | None = None,
    ):
        self.network = network
        self.optimizer = optimizer
        self.schedule = schedule
        self.settings = settings
        self.seed = seed
        self.device = device
        self.augment = augment
        self.sampler = sampler
        self.position = Position()
        self.catch_up: Callable[[], None] = lambda: (
            None
        )  # brings what is still on the device into the position
        self.stepper = Stepper(network, optimizer, settings, device)
        decay = settings.ema_decay
        self.average = None if decay is None else WeightAverage(network, decay=decay)
        self._rates = [float(group["initial_lr"]) for group in optimizer.param_groups]
        if settings.compile is not None:
            network.backbone.compile(mode=settings.compile)
            network.head.compile(mode=settings.compile)
        objective: Objective | LabelChunks = (
            Objective(network, loss, precision=settings.precision)
            if settings.label_chunk is None
            else label_chunks(network, loss, optimizer, settings, processes=processes.size())
        )
        self._shared = _shared(objective, settings) if processes.size() > 1 else None
        self._objective = self._shared or objective

    @property
    def evaluated(self) -> Network:
        """The network that is evaluated and kept: the average of the weights where there is one."""
        return self.network if self.average is None else self.average.network

    def objective(self, batch: Batch) -> Tensor:
        """The mean loss of a batch."""
        mean: Tensor = self._objective(batch)
        return mean

    def gradients_shared(self, *, now: bool) -> AbstractContextManager[None]:
        """The context of a backward pass; only with `now` the processes add up their gradients."""
        return contextlib.nullcontext() if now or self._shared is None else self._shared.no_sync()

    def set_rate(self, epochs_done: float) -> None:
        """Set the learning rate of every group to what the schedule wants after so many epochs."""
        factor = self.schedule.factor(epochs_done, self.settings.max_epochs)
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor

    def state(self) -> dict[str, Any]:
        """All that an exact resume needs, as a tree of tensors and plain values; every process must ask."""
        self.catch_up()
        cuda = [] if self.device == "cpu" else processes.gather_equal(torch.cuda.get_rng_state(self.device))
        return {
            "network": self.network.state_dict(),
            "average": None if self.average is None else self.average.state(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state(),
            "stepper": self.stepper.state(),
            "position": {**asdict(self.position), "best_epoch": self.position.best_epoch},
            "random": {"cpu": processes.gather_equal(torch.get_rng_state()), "cuda": cuda},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take `state()` back; each process its own random numbers, where there were as many before."""
        self.network.load_state_dict(state["network"])
        if self.average is not None:
            self.average.restore(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.restore(state["schedule"])
        self.stepper.restore(state["stepper"])
        position = {key: value for key, value in state["position"].items() if key != "best_epoch"}
        self.position = Position.of(position)
        rank = processes.rank()
        if rank < len(state["random"]["cpu"]):
            torch.set_rng_state(state["random"]["cpu"][rank])
        if self.device != "cpu" and rank < len(state["random"]["cuda"]):
            torch.cuda.set_rng_state(state["random"]["cuda"][rank], self.device)


def _shared(objective: nn.Module, settings: TrainerSettings) -> DistributedDataParallel:
    """The objective whose gradients are the means over the processes, also where some parameters have none.

    A static graph finds these without looking for them in every step, but not while gradients are added up.
    """
    cut = settings.micro_batch_size is not None and settings.micro_batch_size < settings.batch_size
    return DistributedDataParallel(objective, static_graph=not cut, find_unused_parameters=cut)
