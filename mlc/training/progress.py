"""How far a run is: a live bar on a terminal, plain lines in a file or a pipe."""

import io
import math
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TextIO


class Progress:
    """Show loss, speed and time left while a run trains; a context manager.

    Calling `step` after every step is cheap: what is shown changes ten times a second on a terminal, and
    elsewhere one line is written every ten seconds and at each epoch.

    Args:
        total_steps: steps of the whole run.
        start_step: steps done before, in a run that is resumed; they do not count towards the speed.
        log: file to which the lines that stay are added too; None for none.
        stream: where to write; None is the standard output.
    """

    def __init__(
        self,
        *,
        total_steps: int,
        start_step: int = 0,
        log: Path | None = None,
        stream: TextIO | None = None,
    ) -> None:
        stream = sys.stdout if stream is None else stream
        self._total_steps = total_steps
        self._start_step = start_step
        self._log = log
        self._encoding = stream.encoding or "utf-8"
        self._display: _Display = _Bar(stream, total_steps) if is_terminal(stream) else _Lines(stream)
        self._start_s = self._shown_s = time.monotonic()
        self._loss: float | None = None

    @classmethod
    def silent(cls) -> "Progress":
        """One that shows nothing, for all but the main one of several processes."""
        progress = cls(total_steps=1, stream=io.StringIO())
        progress._display = _Nothing()
        return progress

    def __enter__(self) -> Self:
        self._start_s = self._shown_s = time.monotonic()
        self._display.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._display.close()

    def step(self, step: int, *, loss: float | None, examples_per_s: float) -> None:
        """Tell that `step` steps are done.

        Args:
            step: steps done, those before a resume included.
            loss: the training loss, or None to go on showing the last one.
            examples_per_s: speed of training.
        """
        self._loss = self._loss if loss is None else loss
        now_s = time.monotonic()
        if now_s - self._shown_s < self._display.interval_s:
            return
        self._shown_s = now_s
        self._display.show(step, self._status(step, now_s, examples_per_s))

    def epoch(self, epoch: int, metrics: Mapping[str, float], *, note: str = "") -> None:
        """Write one line that stays: the validation metrics of an epoch, and a note such as "best so far"."""
        parts = [f"epoch {epoch}", *(f"{name} {value:.4g}" for name, value in metrics.items())]
        self.line("  ".join(parts) + (f"  ({note})" if note else ""))
        self._shown_s = time.monotonic()

    def line(self, text: str) -> None:
        """Write one line that stays, above the bar where there is one."""
        self._display.write(printable(text, self._encoding))
        if self._log is not None:
            with self._log.open("a", encoding="utf-8") as file:
                file.write(text + "\n")

    def _status(self, step: int, now_s: float, examples_per_s: float) -> str:
        loss = "" if self._loss is None else f"loss {self._loss:.4g}  "
        done, left = step - self._start_step, self._total_steps - step
        time_left_s = (now_s - self._start_s) * left / done if done > 0 else None
        ending = "" if time_left_s is None else f"  {format_duration(time_left_s)} left"
        return f"step {step}/{self._total_steps}  {loss}{examples_per_s:,.0f} examples/s{ending}"


def is_terminal(stream: TextIO) -> bool:
    """Whether a person watches this stream on a terminal that can redraw a line."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def printable(text: str, encoding: str | None) -> str:
    """The same text with "?" for what the stream's encoding lacks: a label's name must never end a run."""
    encoding = encoding or "utf-8"
    return text.encode(encoding, errors="replace").decode(encoding)


def format_duration(time_s: float) -> str:
    """A time as people say it: 45 s, 3 min 20 s, 2 h 5 min."""
    seconds = max(0, round(time_s))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


class _Display(Protocol):
    """What draws: `show` replaces the status, `write` adds a line that stays."""

    interval_s: float

    def open(self) -> None: ...

    def show(self, step: int, status: str) -> None: ...

    def write(self, text: str) -> None: ...

    def close(self) -> None: ...


class _Nothing:
    """Shows nothing."""

    interval_s = math.inf

    def open(self) -> None:
        """Nothing to do."""

    def show(self, step: int, status: str) -> None:
        """Nothing to do."""

    def write(self, text: str) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""


class _Lines:
    """Plain lines, for files and pipes."""

    interval_s = 10.0

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def open(self) -> None:
        """Nothing to draw before the first line."""

    def show(self, step: int, status: str) -> None:
        self.write(status)

    def write(self, text: str) -> None:
        try:
            print(text, file=self._stream, flush=True)
        except BrokenPipeError:
            # Whoever read along (head, less) has gone; the run goes on, and its log has every line.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def close(self) -> None:
        """Nothing to take down."""


class _Bar:
    """A bar drawn by rich, for terminals. No thread of its own: it is redrawn when the loop calls."""

    interval_s = 0.1

    def __init__(self, stream: TextIO, total_steps: int) -> None:
        # Only a terminal pays for importing rich.
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress
        from rich.table import Column

        # Cropped, because the default ellipsis is no ASCII character.
        percent, status = (
            TextColumn(text, markup=False, table_column=Column(no_wrap=True, overflow="crop"))
            for text in ("{task.percentage:>3.0f} %", "{task.description}")
        )
        bar = BarColumn(bar_width=24)
        self._console = Console(file=stream, markup=False, highlight=False, emoji=False)
        self._rich = RichProgress(
            percent, bar, status, console=self._console, auto_refresh=False, transient=True
        )
        self._task = self._rich.add_task("", total=total_steps)

    def open(self) -> None:
        self._rich.start()

    def show(self, step: int, status: str) -> None:
        self._rich.update(self._task, completed=step, description=status, refresh=True)

    def write(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)

    def close(self) -> None:
        self._rich.stop()
