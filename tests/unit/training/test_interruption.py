"""SIGTERM and Ctrl-C."""

import signal
import threading

import pytest

from mlc.errors import Stopped
from mlc.training import interruption as module
from mlc.training.interruption import Interruption, stopping_before_training

BOTH = (signal.SIGINT, signal.SIGTERM)
SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@SIGNALS
def test_a_signal_leaves_a_mark_and_stops_nothing(number: signal.Signals) -> None:
    with Interruption() as interruption:
        assert not interruption.asked
        signal.raise_signal(number)
        assert interruption.asked
        with pytest.raises(Stopped, match=f"stopped by {number.name}"):
            interruption.stop()


@SIGNALS
def test_where_nothing_changes_it_stops_at_once(number: signal.Signals) -> None:
    reached = []
    with Interruption() as interruption:
        with pytest.raises(Stopped, match=number.name), interruption.at_once():  # noqa: PT012
            reached.append("before")
            signal.raise_signal(number)
            reached.append("after")
        assert interruption.asked
    assert reached == ["before"]


def test_a_signal_that_came_before_stops_such_work_before_it_begins() -> None:
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Stopped), interruption.at_once():
            pytest.fail("it began")


def test_after_such_work_a_signal_waits_again() -> None:
    with Interruption() as interruption:
        with interruption.at_once():
            pass
        signal.raise_signal(signal.SIGTERM)
        assert interruption.asked


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize(
    ("first", "second"), [(signal.SIGTERM, signal.SIGTERM), (signal.SIGTERM, signal.SIGINT)]
)
def test_a_later_second_signal_stops_anywhere(
    first: signal.Signals, second: signal.Signals, within: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    now_s = 100.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now_s)
    with Interruption() as interruption:
        if within:
            with pytest.raises(Stopped), interruption.at_once():
                signal.raise_signal(first)
        else:
            signal.raise_signal(first)
        now_s += 1.9
        signal.raise_signal(second)  # the first one once more: torchrun passes on what all have heard
        now_s += 0.2  # counted from the first
        with pytest.raises(KeyboardInterrupt) as stop:
            signal.raise_signal(second)
        assert not isinstance(stop.value, Stopped)


@pytest.mark.parametrize(("first", "second"), [BOTH, BOTH[::-1]])
def test_torchrun_ends_the_last_process_with_a_signal_of_its_own(
    first: signal.Signals, second: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While that one may still write its checkpoint."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setattr(module, "ECHO_S", 0.0)
    with Interruption():
        signal.raise_signal(first)
        signal.raise_signal(second)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(first)


def test_what_a_run_has_heard_may_come_again_after_it() -> None:
    with stopping_before_training():
        with Interruption():
            signal.raise_signal(signal.SIGINT)
        for number in BOTH:
            signal.raise_signal(number)
    with stopping_before_training(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)  # another door


def test_before_training_both_signals_stop_at_once_and_only_once() -> None:
    with stopping_before_training():
        with pytest.raises(Stopped, match="stopped by SIGTERM outside training"):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)


def test_a_ctrl_c_that_the_shell_keeps_from_a_program_stays_unheard() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stopping_before_training():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_afterwards_the_signals_mean_what_they_did() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(ZeroDivisionError), Interruption():  # noqa: PT012
        assert signal.getsignal(signal.SIGTERM) != before[1]
        raise ZeroDivisionError
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_outside_the_main_thread_it_changes_nothing() -> None:
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work() -> None:
        with Interruption() as interruption, interruption.at_once():
            seen.append((signal.getsignal(signal.SIGTERM), interruption.asked))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(before, False)]


def test_without_a_signal_another_process_has_asked() -> None:
    with pytest.raises(Stopped, match="stopped by another process"):
        Interruption().stop()
