"""Everything that changes while a network trains, and how it is kept and taken back."""

import contextlib
import textwrap
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mlc.batch import Batch
from mlc.data.augment import Augmentation
from mlc.errors import UserError
from mlc.losses.base import Loss
from mlc.model import Network
from mlc.training import processes
from mlc.training.average import WeightAverage
from mlc.training.label_chunk_check import label_chunks
from mlc.training.label_chunks import LabelChunks
from mlc.training.label_shard_gradients import AlikeParts
from mlc.training.objective import Objective
from mlc.training.optimizer_state import restore_optimizer
from mlc.training.order import Sampler
from mlc.training.position import Position
from mlc.training.schedules import Schedule
from mlc.training.settings import TrainerSettings
from mlc.training.step import Stepper

_KEYS = {"network", "average", "optimizer", "schedule", "stepper", "position", "random"}
_LONGEST = 200  # characters of what torch says


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
        self._shards = (
            AlikeParts(network) if settings.label_chunk is not None and settings.label_shards else None
        )
        alone = processes.size() == 1 or self._shards is not None
        self._shared = None if alone else _shared(objective, settings)
        self._objective = self._shared or objective
        # A module's call looks for hooks, of which an objective of one process has none.
        self._mean: Callable[..., Tensor] = self._shared or objective.forward

    @property
    def evaluated(self) -> Network:
        """The network that is evaluated and kept: the average of the weights where there is one."""
        return self.network if self.average is None else self.average.network

    def objective(self, batch: Batch) -> Tensor:
        """The mean loss of a batch."""
        mean: Tensor = self._mean(batch)
        return mean

    @property
    def moved_labels(self) -> int:
        """How many labels' weights the last objective has changed (trainer.label_update=in_pass)."""
        return self._objective.moved_labels if isinstance(self._objective, LabelChunks) else 0

    def part(self, batch: Batch, *, share: float) -> tuple[Tensor, Tensor]:
        """The number whose gradient this process adds to a step, and what it adds to the step's mean loss.

        Args:
            batch: some rows of the step's.
            share: how large a part of its rows they are; 0 for a row that stands in for none.
        """
        if self._shards is not None:
            loss: Tensor = self._mean(batch, counted=share > 0)
            return loss, loss.detach()
        mean = self.objective(batch)
        scale = share * processes.size()  # the processes take the mean of their gradients
        return mean if scale == 1 else mean * scale, mean.detach() if share == 1 else mean.detach() * share

    def gradients_shared(self, *, now: bool) -> AbstractContextManager[None]:
        """The context of a backward pass; only with `now` the processes add up their gradients."""
        if self._shards is not None:
            return self._shards.gradients_added_up()
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
            "position": self.position.state(),
            "random": {"cpu": processes.gather_equal(torch.get_rng_state()), "cuda": cuda},
        }

    def restore(self, state: Mapping[str, Any], *, place: str = "the checkpoint") -> None:
        """Take `state()` back; each process its own random numbers, where there were as many before.

        Args:
            state: as it was stored, by whomever.
            place: where, for the message.

        Raises:
            UserError: it is not the state of such a session, which is then of no further use.
        """
        try:
            self._restore(state)
        except torch.OutOfMemoryError:
            raise
        except (AttributeError, LookupError, TypeError, RuntimeError, ValueError, OverflowError) as error:
            reason = textwrap.shorten(str(error), _LONGEST, placeholder=" ...").rstrip(".")
            raise UserError(
                f"{place} does not fit the config.yaml of its run ({reason}): one of the two has been changed"
            ) from error

    def _restore(self, state: Mapping[str, Any]) -> None:
        if state.keys() != _KEYS:
            raise ValueError(f"it does not hold {', '.join(sorted(_KEYS))}")
        position = Position.of(state["position"])
        _check_real(state["network"])
        self.network.load_state_dict(state["network"])
        if (self.average is None) != (state["average"] is None):
            raise ValueError("its average of the weights is not that of trainer.ema_decay")
        if self.average is not None:
            _check_real(state["average"]["network"])
            self.average.restore(state["average"], steps=position.step)
        restore_optimizer(self.optimizer, state["optimizer"], steps=position.step)
        self.schedule.restore(state["schedule"])
        self.stepper.restore(state["stepper"])
        self.position = position
        rank, random = processes.rank(), state["random"]
        if not random["cpu"]:
            raise ValueError("it has no random numbers")
        if rank < len(random["cpu"]):
            torch.set_rng_state(random["cpu"][rank])
        if self.device != "cpu" and rank < len(random["cuda"]):
            torch.cuda.set_rng_state(random["cuda"][rank], self.device)


def _check_real(tensors: Mapping[str, Any]) -> None:
    """What else is wrong, torch finds; of complex numbers it takes a part, and warns."""
    if any(isinstance(value, Tensor) and value.is_complex() for value in tensors.values()):
        raise ValueError("its network has complex numbers")


def _shared(objective: nn.Module, settings: TrainerSettings) -> DistributedDataParallel:
    """The objective whose gradients are the means over the processes, also where some parameters have none.

    A static graph finds these without looking for them in every step, but not while gradients are added up.
    """
    cut = settings.micro_batch_size is not None and settings.micro_batch_size < settings.batch_size
    return DistributedDataParallel(objective, static_graph=not cut, find_unused_parameters=cut)
