"""SIGTERM and Ctrl-C: stop where nothing is lost.

A signal leaves a mark, and the run stops at the next place where its state is whole: after the step, or after
the epoch is kept. Where the state does not change (in an evaluation, while results are written) it stops at
once. A second signal stops at once anywhere, unless it is the first one once more: torchrun passes on what
the terminal sends to all, and sends SIGTERM to the last process when the others have stopped.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

from mlc.errors import Stopped

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
ECHO_S = 2.0  # how long after a signal the same one may come again


class _Heard:
    """The signal that a process has heard, if any."""

    def __init__(self) -> None:
        self._first: tuple[int, float] | None = None

    def again(self, number: int) -> bool:
        """Take in a signal; whether it is that of before, come another way."""
        if self._first is None:
            self._first = number, time.monotonic()
            return False
        first, heard_s = self._first
        by_torchrun = "TORCHELASTIC_RUN_ID" in os.environ and number != first
        return by_torchrun or time.monotonic() - heard_s < ECHO_S


_of_door: list[_Heard] = []  # one while a door is open: a signal may come again after the run has stopped


@contextmanager
def stopping_before_training() -> Iterator[None]:
    """Until a run listens itself, a signal stops at once: there is nothing yet to keep.

    Raises:
        Stopped: in the place of a SIGTERM, so that the exit code says that it was no mistake.
    """
    heard = _Heard()

    def stop(number: int, frame: FrameType | None) -> None:
        if heard.again(number):
            return
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise Stopped("stopped by SIGTERM outside training; the same command starts or goes on")

    minded = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in minded}
    _of_door.append(heard)
    try:
        yield
    finally:
        _of_door.remove(heard)
        for number, handler in before.items():
            signal.signal(number, handler)


class Interruption:
    """What the signals have asked for; a context manager that listens for as long as it is open.

    Outside the main thread Python hears no signals, and nothing is changed.
    """

    def __init__(self) -> None:
        self._asked: str | None = None
        self._heard = _of_door[-1] if _of_door else _Heard()
        self._at_once = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._hear) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    @property
    def asked(self) -> bool:
        """Whether a signal has asked to stop."""
        return self._asked is not None

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within the block a signal stops at once, and so does one that came before.

        Raises:
            Stopped: a signal has asked to.
        """
        self._at_once = True
        try:
            if self.asked:
                self.stop()
            yield
        finally:
            self._at_once = False

    def stop(self) -> None:
        """Stop now.

        Raises:
            Stopped: always.
        """
        raise Stopped(f"stopped by {self._asked or 'another process'}")

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self._heard.again(number):
            return
        if self._asked is not None:
            raise KeyboardInterrupt
        self._asked = signal.Signals(number).name
        if self._at_once:
            self.stop()
