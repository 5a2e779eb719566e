"""The checkpoints of one run: the last few states, the best few networks, and the way back to a whole one.

A state holds all that an exact resume needs; it names the epoch whose network was best so far, and that
network lies in a file of its own. A state without its network is no way back, so the network is written
first and removed last.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from mlc.errors import UserError
from mlc.training.checkpoint import OtherFormatError, load_checkpoint, load_plain, save_checkpoint
from mlc.training.position import Position

_STATE, _NETWORK = "step_*.safetensors", "epoch_*.safetensors"


@dataclass(frozen=True)
class Found:
    """What a run can go on from.

    Args:
        state: of the newest whole checkpoint; None where no whole one is left, and the run starts again.
        notes: sentences about the files that were passed over.
    """

    state: Mapping[str, Any] | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoint files of a run folder.

    Args:
        folder: where they lie.
        keep_last: number of states to keep.
    """

    folder: Path
    keep_last: int = 2

    def states(self) -> list[Path]:
        """The files with a state, the newest first."""
        return sorted(self.folder.glob(_STATE), reverse=True)

    def network(self, epoch: int) -> Path:
        """The file with the network after an epoch that was among the best."""
        return self.folder / f"epoch_{epoch:06}.safetensors"

    def save_network(self, network: Mapping[str, Any], *, epoch: int, value: float | None) -> None:
        """Keep the network after an epoch that is among the best."""
        save_checkpoint(self.network(epoch), {"network": network, "epoch": epoch, "value": value})

    def restore_network(self, network: nn.Module, *, epoch: int) -> None:
        """Give a network the weights that it had after an epoch that was among the best.

        Raises:
            UserError: the file is damaged, or is of another network.
        """
        path = self.network(epoch)
        try:
            network.load_state_dict(load_checkpoint(path)["network"])
        except (AttributeError, LookupError, TypeError, RuntimeError) as error:
            raise UserError(
                f"{path} does not hold the network of this run: it has been changed, or is of another one"
            ) from error

    def save_state(self, state: Mapping[str, Any], *, step: int, best_epochs: Iterable[int]) -> None:
        """Keep a state, and then remove what nothing needs any more.

        Args:
            state: all that an exact resume needs.
            step: steps done.
            best_epochs: the epochs whose networks are to be kept.
        """
        save_checkpoint(self.folder / f"step_{step:012}.safetensors", dict(state))
        kept, old = self.states()[: self.keep_last], self.states()[self.keep_last :]
        for path in old:
            path.unlink()
        named = {epoch for path in kept if (epoch := _best_epoch(path)) is not None}
        wanted = {self.network(epoch) for epoch in named.union(best_epochs)}
        for path in self.folder.glob(_NETWORK):
            if path not in wanted:
                path.unlink()

    def set_aside(self) -> None:
        """Rename what an earlier run has left here, so that a new run cannot be taken for it."""
        for path in (*self.folder.glob(_STATE), *self.folder.glob(_NETWORK)):
            path.replace(path.with_name(f"{path.name}.old"))

    def newest(self) -> Found:
        """The newest state that is whole, with its network; damaged files are renamed and passed over.

        Raises:
            OtherFormatError: another version of this project wrote it, which can read it.
        """
        notes: list[str] = []
        for path in self.states():
            try:
                state = load_checkpoint(path)
                best = Position.of(state.get("position")).best_epoch
            except OtherFormatError:
                raise
            except (UserError, ValueError):
                notes.append(_set_aside(path, "is damaged"))
                continue
            try:
                load_checkpoint(self.network(best))
            except OtherFormatError:
                raise
            except UserError:
                if self.network(best).exists():
                    notes.append(_set_aside(self.network(best), "is damaged"))
                if self._mend(best):
                    notes.append(
                        f"The network of epoch {best} is written again from the checkpoint after it."
                    )
                    return Found(state, tuple(notes))
                notes.append(_set_aside(path, f"goes with the network of epoch {best}, which is lost"))
                continue
            return Found(state, tuple(notes))
        notes.append("No whole checkpoint is left: the run starts again from its first step.")
        return Found(None, tuple(notes))

    def _mend(self, epoch: int) -> bool:
        """Write the network after an epoch again from the state after it, if that is still here."""
        for path in self.states():
            try:
                state = load_checkpoint(path)
                position = Position.of(state.get("position"))
            except (UserError, ValueError):
                continue
            average = state.get("average")
            network = (average if isinstance(average, Mapping) else state).get("network")
            if isinstance(network, Mapping) and (position.epoch, position.batch) == (epoch, 0):
                self.save_network(network, epoch=epoch, value=None)
                return True
        return False


def _best_epoch(path: Path) -> int | None:
    """The epoch whose network a state goes with; None where the file cannot be read."""
    try:
        return Position.of(load_plain(path)["position"]).best_epoch
    except (UserError, LookupError, TypeError, ValueError, RecursionError):
        return None


def _set_aside(path: Path, why: str) -> str:
    aside = path.with_name(f"{path.name}.damaged")
    path.rename(aside)
    return f"{path} {why}: it is now called {aside.name}, and an older one counts"
