"""SIGTERM and Ctrl-C while a door is still importing: the end at once, without a stack trace.

Imports nothing heavy, and changes nothing until it is told to: a library has no business with signals.
"""

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

_CODES = {signal.SIGINT: 130, signal.SIGTERM: 75}  # as the doors themselves
_before: dict[signal.Signals, Any] = {}


def listen() -> None:
    """From now until `run`, a signal ends the process with one sentence and an exit code."""
    for number in _CODES:
        if signal.getsignal(number) != signal.SIG_IGN:  # as a shell has it for what runs in the background
            _before[number] = signal.signal(number, _end)


def run(door: Callable[[], None]) -> None:
    """Open a door, with signals as they were before `listen`; while the process then ends it hears none."""
    for number, before in _before.items():
        signal.signal(number, before)
    _before.clear()
    try:
        door()
    finally:
        for number in _CODES:
            signal.signal(number, signal.SIG_IGN)


def _end(number: int, frame: FrameType | None) -> None:
    if os.environ.get("RANK", "0") == "0":  # one process of several talks
        name = signal.Signals(number).name
        os.write(2, f"stopped by {name} before it began; the same command starts it\n".encode())
    os._exit(_CODES[signal.Signals(number)])
