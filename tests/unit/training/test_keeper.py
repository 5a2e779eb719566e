"""When a run is saved, and what."""

from pathlib import Path
from typing import Any

import pytest
import torch

from mlc.training import keeper
from mlc.training.checkpoint import load_checkpoint
from mlc.training.keeper import Keeper
from mlc.training.run_files import RunFiles
from tests.unit.training import tiny
from tests.unit.training.tiny import bits


class Clock:
    """What `time` is to the keeper."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(keeper, "time", made)
    return made


def made(folder: Path, **changes: Any) -> tuple[Keeper, Any]:
    session = tiny.session(**({"checkpoint_every_minutes": None} | changes))
    return Keeper(RunFiles(folder), session), session


def test_by_default_it_is_due_after_ten_minutes(tmp_path: Path, clock: Clock) -> None:
    session = tiny.session()
    kept = Keeper(RunFiles(tmp_path), session)
    clock.now_s += 599.9
    assert not kept.due()
    clock.now_s += 0.2
    assert kept.due()


def test_minutes_count_from_the_last_save(tmp_path: Path, clock: Clock) -> None:
    kept, _ = made(tmp_path, checkpoint_every_minutes=0.5)
    clock.now_s += 29
    kept.save_state()
    clock.now_s += 29
    assert not kept.due()
    clock.now_s += 1
    assert kept.due()
    kept.save_state()
    assert not kept.due()


def test_steps_are_counted_over_the_whole_run(tmp_path: Path, clock: Clock) -> None:
    kept, session = made(tmp_path, checkpoint_every_steps=3)
    due = []
    for step in range(1, 10):
        session.position.step = step
        if kept.due():
            due.append(step)
    assert due == [3, 6, 9]


def test_either_is_enough_and_neither_is_never(tmp_path: Path, clock: Clock) -> None:
    both, session = made(tmp_path, checkpoint_every_steps=3, checkpoint_every_minutes=1.0)
    never, other = made(tmp_path)
    session.position.step = other.position.step = 2
    assert not both.due()
    clock.now_s += 60
    assert both.due()
    other.position.step = 3
    clock.now_s += 1e9
    assert not never.due()


def test_what_is_saved_is_the_state_and_the_network_that_is_evaluated(tmp_path: Path) -> None:
    kept, session = made(tmp_path, ema_decay=0.9, max_epochs=1)
    tiny.train(session)
    session.position.ranked = [(1, 0.25)]
    kept.save_network()
    kept.save_state()
    folder = RunFiles(tmp_path).checkpoints
    assert sorted(path.name for path in folder.iterdir()) == [
        "epoch_000001.safetensors",
        "step_000000000005.safetensors",
    ]
    network = load_checkpoint(folder / "epoch_000001.safetensors")
    assert (network["epoch"], network["value"]) == (1, 0.25)
    assert bits(network["network"]) == bits(dict(session.evaluated.state_dict()))
    assert bits(network["network"]) != bits(dict(session.network.state_dict()))
    state = load_checkpoint(folder / "step_000000000005.safetensors")
    session.restore(state)
    assert bits(session.state()) == bits(state)


def test_only_the_main_process_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, _ = made(tmp_path)
    monkeypatch.setattr(keeper.processes, "is_main", lambda: False)
    kept.save_network()
    kept.save_state()
    assert not list(tmp_path.iterdir())


def saved(folder: Path) -> list[str]:
    return sorted(path.name for path in RunFiles(folder).checkpoints.iterdir())


def test_an_epoch_soon_after_a_checkpoint_waits_for_the_next_one(tmp_path: Path, clock: Clock) -> None:
    kept, session = made(tmp_path, checkpoint_pause_s=1.0, keep_best=2)
    kept.save_state()
    before = saved(tmp_path)
    session.position.epoch, session.position.step = 1, 5
    session.position.ranked = [(1, 0.5)]
    kept.epoch_ended(best=True, last=False)
    assert saved(tmp_path) == before
    first = bits(dict(session.evaluated.state_dict()))
    with torch.no_grad():
        for parameter in session.network.parameters():
            parameter.add_(1)
    clock.now_s += 1.0
    session.position.epoch, session.position.step = 2, 10
    session.position.ranked = [(2, 0.25), (1, 0.5)]
    kept.epoch_ended(best=True, last=False)
    assert saved(tmp_path) == [
        *("epoch_000001.safetensors", "epoch_000002.safetensors"),
        *("step_000000000000.safetensors", "step_000000000010.safetensors"),
    ]
    folder = RunFiles(tmp_path).checkpoints
    assert bits(load_checkpoint(folder / "epoch_000001.safetensors")["network"]) == first
    assert bits(load_checkpoint(folder / "epoch_000002.safetensors")["network"]) != first


def test_a_network_that_waits_is_not_written_once_better_ones_have_come(tmp_path: Path, clock: Clock) -> None:
    kept, session = made(tmp_path, checkpoint_pause_s=1.0)
    session.position.epoch, session.position.ranked = 1, [(1, 0.5)]
    kept.epoch_ended(best=True, last=False)
    session.position.epoch, session.position.ranked = 2, [(2, 0.25)]
    kept.epoch_ended(best=True, last=True)  # the last epoch waits for nothing
    assert saved(tmp_path) == ["epoch_000002.safetensors", "step_000000000000.safetensors"]


def test_of_the_networks_that_wait_only_the_best_stay_in_memory(tmp_path: Path, clock: Clock) -> None:
    kept, session = made(tmp_path, checkpoint_pause_s=1.0, keep_best=2)
    for epoch in range(1, 20):
        session.position.epoch = epoch
        assert session.position.rank(1 / epoch, sign=-1, keep=2)
        kept.epoch_ended(best=True, last=False)
    assert set(kept._waiting) == {18, 19}


def test_a_checkpoint_that_is_due_does_not_wait_for_the_pause(tmp_path: Path, clock: Clock) -> None:
    kept, session = made(tmp_path, checkpoint_pause_s=1.0, checkpoint_every_steps=3)
    for epoch in range(1, 5):
        session.position.epoch, session.position.step = epoch, 2 * epoch
        kept.epoch_ended(best=False, last=False)
    assert saved(tmp_path) == ["step_000000000006.safetensors"]
