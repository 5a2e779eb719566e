"""When a run is saved, and what is saved of it."""

import time
from collections.abc import Mapping

from torch import Tensor

from mlc.training import processes
from mlc.training.checkpoints import Checkpoints
from mlc.training.run_files import RunFiles
from mlc.training.session import Session


class Keeper:
    """Keeps a session's state and its best networks; only the main process writes.

    Args:
        files: of the run.
        session: to keep.
    """

    def __init__(self, files: RunFiles, session: Session):
        self._session = session
        self._checkpoints = Checkpoints(files.checkpoints, keep_last=session.settings.keep_last)
        self._saved_s = time.monotonic()
        self._waiting: dict[int, dict[str, Tensor]] = {}

    def due(self) -> bool:
        """Whether a checkpoint within the epoch is due."""
        settings, step = self._session.settings, self._session.position.step
        steps, minutes = settings.checkpoint_every_steps, settings.checkpoint_every_minutes
        return (steps is not None and step % steps == 0) or (
            minutes is not None and time.monotonic() - self._saved_s >= 60 * minutes
        )

    def epoch_ended(self, *, best: bool, last: bool) -> None:
        """Keep the state after an epoch, unless one was kept a moment ago: then this one may wait.

        What waits is in memory and goes with the next state, so that a short epoch is not mostly writing. A
        kill before that repeats the epochs since the last state, which takes no longer than the pause.

        Args:
            best: whether the network is one of the best to keep.
            last: whether no epoch comes after this one, or none in this process.
        """
        paused = time.monotonic() - self._saved_s >= self._session.settings.checkpoint_pause_s
        (now,) = processes.any_of(last or paused or self.due())
        if best and now:
            self.save_network()
        elif best:
            position, network = self._session.position, self._session.evaluated.state_dict()
            self._waiting[position.epoch] = {name: tensor.clone() for name, tensor in network.items()}
            for beaten in self._waiting.keys() - dict(position.ranked).keys():
                del self._waiting[beaten]
        if now:
            self.save_state()

    def save_network(self) -> None:
        """Keep the network after this epoch, which is one of the best."""
        # In every process: each may hold some of the labels.
        self._write(self._session.position.epoch, self._session.evaluated.state_dict())

    def save_state(self) -> None:
        """Keep all that an exact resume needs."""
        session, position = self._session, self._session.position
        for epoch in sorted(self._waiting):  # first: a state without its network is no way back
            self._write(epoch, self._waiting.pop(epoch))
        state = session.state()
        if processes.is_main():
            self._checkpoints.save_state(
                state, step=position.step, best_epochs=[epoch for epoch, _ in position.ranked]
            )
        self._saved_s = time.monotonic()

    def _write(self, epoch: int, network: Mapping[str, Tensor]) -> None:
        """Write the network after an epoch, unless better ones have come since."""
        ranked = dict(self._session.position.ranked)
        if processes.is_main() and epoch in ranked:
            self._checkpoints.save_network(network, epoch=epoch, value=ranked[epoch])
