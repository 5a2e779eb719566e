"""Signals while a door imports; the doors run here as programs, up to that point."""

import os
import runpy
import signal
from collections.abc import Iterator
from types import ModuleType

import pytest

import mlc.evaluate
import mlc.predict
import mlc.train
from mlc import early_signals

BOTH = (signal.SIGINT, signal.SIGTERM)
DOORS = pytest.mark.parametrize("door", [mlc.train, mlc.evaluate, mlc.predict])


class Ended(Exception):  # noqa: N818 - an end, no error
    """In the place of the process's end."""


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in BOTH}
    yield
    early_signals._before.clear()
    for number, handler in before.items():
        signal.signal(number, handler)


def end(code: int) -> None:
    raise Ended(code)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
@pytest.mark.parametrize("rank", [None, "0", "1"])
def test_a_signal_ends_the_process_with_a_sentence(
    number: signal.Signals,
    code: int,
    rank: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    monkeypatch.setattr(os, "_exit", end)
    early_signals.listen()
    with pytest.raises(Ended, match=f"^{code}$"):
        signal.raise_signal(number)
    said = f"stopped by {number.name} before it began; the same command starts it\n"
    assert capfd.readouterr().err == ("" if rank == "1" else said)


def test_within_the_door_signals_mean_what_they_did_and_at_its_end_nothing() -> None:
    before = [signal.getsignal(number) for number in BOTH]
    seen = []

    def door() -> None:
        seen.extend(signal.getsignal(number) for number in BOTH)
        raise SystemExit(75)

    early_signals.listen()
    assert all(signal.getsignal(number) not in before for number in BOTH)
    with pytest.raises(SystemExit):
        early_signals.run(door)
    assert seen == before
    assert [signal.getsignal(number) for number in BOTH] == [signal.SIG_IGN] * 2


def test_what_was_not_heard_is_not_heard() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    early_signals.listen()
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


@DOORS
def test_a_program_listens_before_it_imports_what_takes_seconds(
    door: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(early_signals, "listen", lambda: end(1))
    with pytest.raises(Ended) as ended:
        runpy.run_path(str(door.__file__), run_name="__main__")
    (names,) = [entry.frame.f_globals for entry in ended.traceback if str(entry.path) == str(door.__file__)]
    assert "early_signals" in names
    assert not any(getattr(value, "__module__", "").startswith("mlc.") for value in names.values())


@DOORS
def test_a_program_opens_its_door_through_it(door: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(early_signals, "listen", lambda: None)
    monkeypatch.setattr(early_signals, "run", lambda main: opened.append(main.__name__))
    runpy.run_path(str(door.__file__), run_name="__main__")
    assert opened == ["main"]


@DOORS
def test_a_library_listens_to_nothing(door: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early_signals, "listen", lambda: pytest.fail("it listens"))
    monkeypatch.setattr(early_signals, "run", lambda main: pytest.fail("it runs"))
    runpy.run_path(str(door.__file__), run_name="a_library")
