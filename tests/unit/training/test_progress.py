import io
import time
from pathlib import Path

import pytest

from mlc.training import progress as module
from mlc.training.progress import Progress, format_duration, printable


class Stream(io.TextIOWrapper):
    """A stream with a given encoding that may claim to be a terminal."""

    def __init__(self, *, encoding: str = "utf-8", terminal: bool = False) -> None:
        super().__init__(io.BytesIO(), encoding=encoding, newline="")
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    def text(self) -> str:
        self.flush()
        return self.buffer.getvalue().decode(self.encoding)


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module.time, "monotonic", clock.monotonic)
    return clock


def test_plain_lines_come_every_ten_seconds_with_rate_and_time_left(clock: Clock) -> None:
    stream = Stream()
    with Progress(total_steps=100, stream=stream) as progress:
        for step in range(1, 51):
            clock.now_s += 1
            progress.step(step, loss=0.5 if step == 1 else None, examples_per_s=12345.6)
    lines = stream.text().splitlines()
    assert len(lines) == 5
    assert lines[0] == "step 10/100  loss 0.5  12,346 examples/s  1 min 30 s left"
    assert lines[-1].endswith("50 s left")


def test_an_epoch_is_one_line_and_restarts_the_ten_seconds(clock: Clock) -> None:
    stream = Stream()
    with Progress(total_steps=100, stream=stream) as progress:
        clock.now_s += 9
        progress.epoch(1, {"loss": 0.25, "micro_f1": 0.812345}, note="best loss so far")
        clock.now_s += 9
        progress.step(20, loss=None, examples_per_s=1)
        progress.epoch(2, {"loss": 0.3})
    assert stream.text() == "epoch 1  loss 0.25  micro_f1 0.8123  (best loss so far)\nepoch 2  loss 0.3\n"


def test_steps_before_a_resume_do_not_count_towards_the_speed(clock: Clock) -> None:
    stream = Stream()
    with Progress(total_steps=100, start_step=80, stream=stream) as progress:
        clock.now_s += 20
        progress.step(90, loss=None, examples_per_s=1)
    assert stream.text().endswith("20 s left\n")


@pytest.mark.parametrize("total_steps", [0, 10])
def test_a_run_without_new_steps_does_not_divide_by_zero(clock: Clock, total_steps: int) -> None:
    for terminal in (False, True):
        stream = Stream(terminal=terminal)
        with Progress(total_steps=total_steps, start_step=total_steps, stream=stream) as progress:
            clock.now_s += 20
            progress.step(total_steps, loss=float("nan"), examples_per_s=0)
        assert "nan" in stream.text()


def test_lines_that_stay_also_go_to_the_log(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_text("before a resume\n")
    with Progress(total_steps=1, stream=Stream(encoding="ascii"), log=log) as progress:
        progress.line("Käse")
        progress.epoch(1, {"loss": 1.0})
    assert log.read_text(encoding="utf-8") == "before a resume\nKäse\nepoch 1  loss 1\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("columns", ["1", "10", "40", "200"])
def test_no_terminal_is_too_narrow_or_too_plain(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, encoding: str, columns: str
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", columns)
    stream = Stream(encoding=encoding, terminal=True)
    with Progress(total_steps=1000, stream=stream) as progress:
        for step in range(1, 40):
            clock.now_s += 1
            progress.step(step, loss=0.125, examples_per_s=1e6)
        progress.epoch(1, {"micro_f1": 0.5}, note="日本 [bold] → ✓")
        progress.line("[/]" + "x" * 300)
    text = stream.text()
    assert "epoch 1  micro_f1 0.5" in text
    assert "[/]" + "x" * 300 in text
    assert "[bold]" in text


def test_a_bar_moves_on_a_wide_terminal(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    stream = Stream(terminal=True)
    with Progress(total_steps=100, stream=stream) as progress:
        clock.now_s += 1
        progress.step(50, loss=0.125, examples_per_s=1000)
    assert "50 %" in stream.text()
    assert "step 50/100  loss 0.125  1,000 examples/s  1 s left" in stream.text()


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    stream = Stream(terminal=True)
    with Progress(total_steps=1, stream=stream) as progress:
        progress.line("a")
    assert stream.text() == "a\n"


def test_the_bar_goes_when_the_run_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Stream(terminal=True)
    with pytest.raises(KeyboardInterrupt), Progress(total_steps=1, stream=stream):
        raise KeyboardInterrupt
    assert stream.text().count("\x1b[?25h") >= 1  # the cursor is shown again


def test_telling_each_step_costs_little() -> None:
    with Progress(total_steps=10**6, stream=Stream()) as progress:
        start_s = time.perf_counter()
        for step in range(10_000):
            progress.step(step, loss=None, examples_per_s=1.0)
        assert (time.perf_counter() - start_s) / 10_000 < 20e-6


def test_durations_and_encodings() -> None:
    assert [format_duration(t) for t in (-1, 0.4, 59.4, 60, 3599, 7500)] == [
        *("0 s", "0 s", "59 s", "1 min 0 s", "59 min 59 s", "2 h 5 min"),
    ]
    assert printable("ä→x", "ascii") == "??x"
    assert printable("ä→x", None) == "ä→x"
