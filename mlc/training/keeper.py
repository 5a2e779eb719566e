"""When a run is saved, and what is saved of it."""

import time

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

    def due(self) -> bool:
        """Whether a checkpoint within the epoch is due."""
        settings, step = self._session.settings, self._session.position.step
        steps, minutes = settings.checkpoint_every_steps, settings.checkpoint_every_minutes
        return (steps is not None and step % steps == 0) or (
            minutes is not None and time.monotonic() - self._saved_s >= 60 * minutes
        )

    def save_network(self) -> None:
        """Keep the network after this epoch, which is one of the best."""
        session, position = self._session, self._session.position
        if processes.is_main():
            value = next(value for epoch, value in position.ranked if epoch == position.epoch)
            self._checkpoints.save_network(session.evaluated.state_dict(), epoch=position.epoch, value=value)

    def save_state(self) -> None:
        """Keep all that an exact resume needs."""
        session, position = self._session, self._session.position
        state = session.state()
        if processes.is_main():
            self._checkpoints.save_state(
                state, step=position.step, best_epochs=[epoch for epoch, _ in position.ranked]
            )
        self._saved_s = time.monotonic()
