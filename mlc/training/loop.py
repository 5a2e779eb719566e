"""The training loop: read this first.

order -> batch -> network -> loss -> step, epoch after epoch;
after each epoch: validate, log, remember the best, save, stop early.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mlc.batch import Batch
from mlc.data.dataset import Split
from mlc.errors import Fault, UserError
from mlc.training import feeding, processes
from mlc.training.linear_baseline import LinearBaseline, fit_linear
from mlc.training.order import epoch_order
from mlc.training.position import Position
from mlc.training.session import Session
from mlc.training.settings import TrainerSettings


@dataclass(frozen=True)
class StepReport:
    """What happened since the last report: mean loss per example, learning rate, examples per second."""

    step: int
    loss: float
    learning_rate: float
    examples_per_s: float


@dataclass(frozen=True)
class BadStep:
    """A step that was left out because its gradients were not finite: its training rows and its loss.

    The weights of `moved_labels` labels had taken it before that was known (trainer.label_update=in_pass).
    """

    step: int
    rows_B: Tensor
    loss: float
    moved_labels: int = 0


@dataclass(frozen=True)
class Callbacks:
    """Whom the loop tells what.

    Args:
        validate: called after each epoch; returns the validation metrics.
        report: called every `log_every_steps` steps.
        bad_step: called for each step that was left out, on CUDA when the next report is due.
        after_step: called after every step, when all is in order; may save, and may raise to stop.
        epoch: called after each epoch with the metrics and whether the network is one of the best to keep.
        interruptible: the context of work that changes nothing in the session, and may be stopped anywhere.
    """

    validate: Callable[[], Mapping[str, float]]
    report: Callable[[StepReport], None]
    bad_step: Callable[[BadStep], None]
    after_step: Callable[[], None]
    epoch: Callable[[Mapping[str, float], bool], None]
    interruptible: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext


def nothing_left(position: Position, settings: TrainerSettings) -> bool:
    """Whether all epochs or steps are done, or there was no better network for `patience` epochs."""
    waited = position.epoch - position.best_epoch
    return (
        position.epoch >= settings.max_epochs
        or (settings.max_steps is not None and position.step >= settings.max_steps and position.batch == 0)
        or (settings.patience is not None and waited >= settings.patience)
    )


def fit(session: Session, train: Split, tell: Callbacks) -> None:
    """Train until the last epoch, or until validation stops improving.

    Args:
        session: the network and all that trains it; changed in place.
        train: training split, on the session's device.
        tell: whom to tell what.
    """
    settings, position = session.settings, session.position
    while not nothing_left(position, settings):
        start_s = time.perf_counter()
        if isinstance(settings, LinearBaseline):
            with tell.interruptible():
                fit_linear(session.network, train, settings)
        else:
            _train_epoch(session, train, tell)
        trained_s = time.perf_counter()
        with tell.interruptible():
            metrics = tell.validate()
        # From here on the epoch counts; a stop before this trains nothing again, and validates once more.
        position.epoch, position.batch = position.epoch + 1, 0
        position.train_time_s += trained_s - start_s
        position.valid_time_s += time.perf_counter() - trained_s
        tell.epoch(metrics, _observe(session, metrics))


def _train_epoch(session: Session, train: Split, tell: Callbacks) -> None:
    settings, position = session.settings, session.position
    batches = epoch_order(
        len(train),
        settings.batch_size,
        seed=session.seed,
        epoch=position.epoch,
        lengths_N=train.lengths_N,
        sampler=session.sampler,
    )
    if position.batch > len(batches):
        raise UserError(
            f"the checkpoint has done {position.batch} batches of an epoch that has {len(batches)}: it has "
            f"been changed, or is that of another run"
        )
    last = len(batches)
    if settings.max_steps is not None:
        last = min(last, position.batch + max(settings.max_steps - position.step, 0))
    watch = _Watch(session, tell)
    session.catch_up = watch.read
    session.network.train()
    plan = [(rows_B, _parts(session, rows_B)) for rows_B in batches[position.batch : last]]
    feed = feeding.batches(train, (part for _, parts in plan for part in parts), session.device)
    for i, (rows_B, parts) in enumerate(plan, start=position.batch):
        session.set_rate(position.epoch + (i + 0.5) / len(batches))
        loss, bad = _step(session, feed, rows_B, parts)
        position.step, position.batch = position.step + 1, i + 1
        watch.add(rows_B, loss, bad, last=i + 1 == last)
        tell.after_step()


def _step(
    session: Session, feed: Iterator[Batch], rows_B: Tensor, parts: Sequence[Tensor]
) -> tuple[Tensor, Tensor | bool]:
    """One step on these rows, whose parts come next: their mean loss, and whether it was left out."""
    stepper = session.stepper
    counted = processes.has_part(rows_B)
    total: Tensor | None = None
    stepper.begin()
    for i, part in enumerate(parts, start=1):
        batch = next(feed)
        if session.augment is not None:
            batch = replace(batch, inputs=session.augment(batch.inputs))
        share = part.numel() / rows_B.numel() if counted else 0.0
        with session.gradients_shared(now=i == len(parts)):
            loss, own = session.part(batch, share=share)
            stepper.backward(loss)
        total = own if total is None else total + own
    assert total is not None, "a batch has a part"
    bad = stepper.step()
    if session.average is not None:
        session.average.update(stepper.left_out)
    return total, bad


def _parts(session: Session, rows_B: Tensor) -> list[Tensor]:
    """The rows of this process that go through the network at once; a last single one joins those before.

    A process that has no row of a small last batch must still take part: it gets a row, which counts nothing.
    """
    size = session.settings.micro_batch_size
    if size is None and processes.size() == 1:
        return [rows_B]
    own_B = processes.own_part(rows_B) if processes.has_part(rows_B) else rows_B[:1]
    parts = list(own_B.split(size or len(own_B)))
    if len(parts) > 1 and len(parts[-1]) == 1 != size:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def _observe(session: Session, metrics: Mapping[str, float]) -> bool:
    """Compare the monitored metric with those before; whether this network is one of the best to keep."""
    position, settings = session.position, session.settings
    value = processes.of_main(metrics.get(settings.monitor))  # all decide by one number, or wait for ever
    if value is not None and math.isnan(value):
        raise Fault(f"the validation metric {settings.monitor} became NaN: lower optimizer.lr")
    if value is None:
        raise UserError(
            f"trainer.monitor={settings.monitor} is not defined on this validation split or for this head: "
            f"choose another metric, for example trainer.monitor=loss"
        )
    session.schedule.observe(position.improves(value, settings.monitor_sign))
    return position.rank(value, sign=settings.monitor_sign, keep=settings.keep_best)


class _Watch:
    """Loss, speed and bad steps since the last report; what is on CUDA stays there until that is due."""

    def __init__(self, session: Session, tell: Callbacks):
        self._session = session
        self._tell = tell
        self._at_once = session.device == "cpu"
        self._unread: list[tuple[int, Tensor, int, Tensor, Tensor | bool]] = []
        self._loss_sum = 0.0
        self._rows = self._good_rows = 0
        self._since_s = time.perf_counter()

    def add(self, rows_B: Tensor, loss: Tensor, bad: Tensor | bool, *, last: bool) -> None:
        """Take in a step; report if it is time to."""
        position = self._session.position
        due = last or position.step % self._session.settings.log_every_steps == 0
        self._unread.append((position.step, rows_B, self._session.moved_labels, loss, bad))
        if due or (self._at_once and bad):
            self.read()
        if due:
            self._report()

    def read(self) -> None:
        """Bring the numbers of the unread steps to the host, in one go."""
        position, settings = self._session.position, self._session.settings
        for step, rows_B, moved, loss, bad in self._on_host():
            rows = rows_B.numel()
            self._rows += rows
            if not bad:
                self._loss_sum += loss * rows
                self._good_rows += rows
                position.bad_in_a_row = 0
                continue
            position.bad_steps += 1
            position.bad_in_a_row += 1
            self._tell.bad_step(BadStep(step, rows_B, processes.sum_of(loss), moved))
            if position.bad_in_a_row >= settings.max_bad_steps:
                raise Fault(
                    f"{position.bad_in_a_row} steps in a row were not finite (trainer.max_bad_steps), the "
                    f"last of them step {step}: start a new run with a lower optimizer.lr, or with "
                    f"trainer.clip_norm"
                )
        self._unread.clear()

    def _on_host(self) -> Iterator[tuple[int, Tensor, int, float, bool]]:
        if self._at_once:
            for step, rows_B, moved, loss, bad in self._unread:
                yield step, rows_B, moved, loss.item(), bool(bad)
            return
        numbers = torch.stack(
            [torch.stack((loss, torch.as_tensor(bad, device=loss.device))) for *_, loss, bad in self._unread]
        )
        for (step, rows_B, moved, *_), (loss, bad) in zip(self._unread, numbers.tolist(), strict=True):
            yield step, rows_B, moved, loss, bool(bad)

    def _report(self) -> None:
        now_s = time.perf_counter()
        loss_sum = processes.sum_of(self._loss_sum)
        self._tell.report(
            StepReport(
                step=self._session.position.step,
                loss=loss_sum / self._good_rows if self._good_rows else math.nan,
                learning_rate=self._session.optimizer.param_groups[0]["lr"],
                examples_per_s=self._rows / max(now_s - self._since_s, 1e-9),
            )
        )
        self._loss_sum, self._rows, self._good_rows, self._since_s = 0.0, 0, 0, now_s
