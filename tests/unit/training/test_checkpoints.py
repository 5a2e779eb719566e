"""The checkpoints of a run: what is kept, what is removed, and what is found again after any mishap."""

import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlc.errors import UserError
from mlc.training import checkpoint, files
from mlc.training.checkpoint import load_checkpoint, save_checkpoint
from mlc.training.checkpoints import Checkpoints
from mlc.training.position import Position
from tests.unit.training.tiny import bits


class Killed(BaseException):
    """What nothing catches."""


@contextmanager
def killed_before(operation: int) -> Iterator[None]:
    """Die before the n-th change of the file system; everything before it is done."""
    numbers = count(1)

    def before(function: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*args: Any, **kwargs: Any) -> Any:
            if next(numbers) >= operation:
                raise Killed
            return function(*args, **kwargs)

        return guarded

    with pytest.MonkeyPatch.context() as patch:
        for name in ("replace", "unlink", "rename"):
            patch.setattr(Path, name, before(getattr(Path, name)))
        patch.setattr(checkpoint, "save_file", before(checkpoint.save_file))
        patch.setattr(files, "_flush_to_disk", lambda _: None)  # power is not cut here, and it takes time
        yield


def network_of(epoch: int) -> dict[str, torch.Tensor]:
    return {"weight": torch.tensor([float(epoch)])}


def state_of(position: Position) -> dict[str, Any]:
    return {
        "weights": {"weight": torch.tensor([position.step + 0.5])},
        "position": {**vars(position), "best_epoch": position.best_epoch},
    }


def train(
    kept: Checkpoints, position: Position, plan: list[tuple[list[bool], float]], keep_best: int
) -> None:
    """What a run does to its checkpoints, from a position on.

    Args:
        kept: its checkpoints.
        position: where it stands.
        plan: for each epoch whether a checkpoint is written after each of its steps, and its monitored value.
        keep_best: number of networks to keep.
    """

    def save_state() -> None:
        best = [epoch for epoch, _ in position.ranked]
        kept.save_state(state_of(position), step=position.step, best_epochs=best)

    if position.step == 0:
        kept.save_network(network_of(0), epoch=0, value=None)
        save_state()
    for within, value in plan[position.epoch :]:
        for due in within[position.batch :]:
            position.step, position.batch = position.step + 1, position.batch + 1
            if due:
                save_state()
        position.epoch, position.batch = position.epoch + 1, 0
        if position.rank(value, sign=-1, keep=keep_best):
            kept.save_network(network_of(position.epoch), epoch=position.epoch, value=value)
        save_state()


def check_folder(kept: Checkpoints) -> None:
    """Every state that is there has its network, and both say what they are."""
    for path in kept.states():
        state = load_checkpoint(path)
        best = state["position"]["best_epoch"]
        assert load_checkpoint(kept.network(best))["network"] == network_of(best)
        assert path.name == f"step_{state['position']['step']:012}.safetensors"


PLANS = st.lists(st.tuples(st.lists(st.booleans(), min_size=1, max_size=3), st.integers(0, 4)), max_size=6)


@given(
    plan=PLANS,
    keep_last=st.integers(1, 3),
    keep_best=st.integers(1, 3),
    kills=st.lists(st.integers(1, 40), max_size=4),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_kill_anywhere_leaves_a_way_back_and_the_same_end(
    plan: Any, keep_last: int, keep_best: int, kills: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("run") / "checkpoints"
    kept = Checkpoints(folder, keep_last=keep_last)
    position = Position()
    for operation in [*kills, 10**9]:
        try:
            with killed_before(operation):
                train(kept, position, plan, keep_best)
        except Killed:
            check_folder(kept)
            began = bool(kept.states())
            found = kept.newest()
            assert (found.notes == ()) == began == (found.state is not None)
            if found.state is not None:
                expected = {
                    key: value for key, value in found.state["position"].items() if key != "best_epoch"
                }
                position = Position.of(expected)
                assert bits(state_of(position)) == bits(found.state)
            else:
                position = Position()
    check_folder(kept)
    ranked = sorted((value, epoch) for epoch, (_, value) in enumerate(plan, 1))[:keep_best] or [(None, 0)]
    assert position.ranked == [(epoch, value) for value, epoch in ranked]
    networks = {path.name for path in folder.glob("epoch_*")}
    assert {kept.network(epoch).name for _, epoch in ranked} <= networks
    # A kill just before the last removal leaves one more, because a finished run saves nothing.
    assert len(networks) <= keep_best + keep_last + 1 + bool(kills)
    assert 1 <= len(kept.states()) <= keep_last + bool(kills)
    state = kept.newest().state
    assert state is not None
    assert state["position"]["epoch"] == len(plan)


@pytest.fixture
def whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkpoints:
    """Two states: the older goes with the network of epoch 1, the newer with that of epoch 2."""
    monkeypatch.setattr(files, "_flush_to_disk", lambda _: None)
    kept = Checkpoints(tmp_path / "run" / "checkpoints", keep_last=2)
    train(kept, Position(), [([False, False], 2.0), ([False, False], 1.0)], 1)
    assert [path.name for path in kept.states()] == [f"step_{step:012}.safetensors" for step in (4, 2)]
    return kept


def damage(path: Path, generator: random.Random) -> None:
    """Flip a bit, or cut."""
    content = bytearray(path.read_bytes())
    if generator.random() < 0.8:
        bit = generator.randrange(8 * len(content))
        content[bit // 8] ^= 1 << bit % 8
    else:
        content = content[: generator.randrange(len(content))]
    path.write_bytes(content)


@pytest.mark.parametrize("files_damaged", [1, 2, 3])
def test_of_damaged_files_none_is_taken_for_whole(whole: Checkpoints, files_damaged: int) -> None:
    saved = {path.name: path.read_bytes() for path in whole.folder.iterdir()}
    states = [bits(load_checkpoint(path)) for path in whole.states()]
    generator, outcomes = random.Random(files_damaged), set()
    for _ in range(100):
        shutil.rmtree(whole.folder)
        whole.folder.mkdir()
        for name, content in saved.items():
            (whole.folder / name).write_bytes(content)
        for name in generator.sample(sorted(saved), files_damaged):
            damage(whole.folder / name, generator)
        found = whole.newest()
        if found.state is None:
            outcomes.add("none")
            assert "starts again" in found.notes[-1]
            assert not whole.states()
            continue
        outcomes.add(states.index(bits(found.state)))
        best = found.state["position"]["best_epoch"]
        assert load_checkpoint(whole.network(best))["network"] == network_of(best)
        assert (found.notes == ()) == (bits(found.state) == states[0])
        assert bits(load_checkpoint(whole.states()[0])) == bits(found.state), "nothing newer is left"
        assert whole.newest().notes == (), "it is said once"
    # Two states with a network each: of three damaged files, one belongs to either.
    assert outcomes == {1: {0, 1}, 2: {0, 1, "none"}, 3: {"none"}}[files_damaged]


def test_a_damaged_file_is_put_aside_and_named(whole: Checkpoints) -> None:
    newest, _ = whole.states()
    newest.write_bytes(b"")
    found = whole.newest()
    assert found.state is not None
    assert found.state["position"]["step"] == 2
    assert found.notes == (
        f"{newest} is damaged: it is now called {newest.name}.damaged, and an older one counts",
    )
    assert (newest.parent / f"{newest.name}.damaged").exists()


@pytest.mark.parametrize("lost", [False, True])
def test_a_state_without_its_network_is_no_way_back(whole: Checkpoints, lost: bool) -> None:
    newest, older = whole.states()
    network = whole.network(2)
    if lost:
        network.unlink()
    else:
        network.write_bytes(b"no network")
    found = whole.newest()
    assert found.state is not None
    assert bits(found.state) == bits(load_checkpoint(older))
    assert f"{newest} goes with the network of epoch 2, which is lost" in found.notes[-1]
    # Once the run has made that network again, perhaps of other weights, this state must not come back.
    assert whole.states() == [older]


def test_a_state_of_another_version_is_not_damaged(
    whole: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(path.name for path in whole.folder.iterdir())
    monkeypatch.setattr(checkpoint, "FORMAT_VERSION", checkpoint.FORMAT_VERSION + 1)
    with pytest.raises(UserError, match="use the version of mlc that wrote it"):
        whole.newest()
    assert sorted(path.name for path in whole.folder.iterdir()) == before


def test_a_folder_that_is_lost_has_no_way_back(tmp_path: Path) -> None:
    found = Checkpoints(tmp_path / "none").newest()
    assert found.state is None
    assert found.notes == ("No whole checkpoint is left: the run starts again from its first step.",)


def test_a_whole_file_of_another_kind_is_passed_over(whole: Checkpoints) -> None:
    save_checkpoint(whole.states()[0], {"epoch": 3})
    assert whole.newest().state is not None
    save_checkpoint(whole.states()[0], {"position": 3})
    assert whole.newest().state is None


@pytest.mark.parametrize(
    "position",
    [
        {"best_epoch": "../../x"},
        {"best_epoch": [2]},
        {"best_epoch": -1},
        {"ranked": [["../../x", 0.5]], "best_epoch": "../../x"},
        {"epoch": 10**400},
        None,
        [],
    ],
)
def test_a_position_that_no_run_comes_to_is_passed_over_and_leads_nowhere(
    whole: Checkpoints, position: Any
) -> None:
    newest, before = whole.states()[:2]
    victim = whole.folder.parent / "x.safetensors"
    victim.write_bytes(b"not ours")
    (whole.folder / "epoch_..").mkdir()
    state = load_checkpoint(newest)
    state["position"] = state["position"] | position if position else position
    save_checkpoint(newest, state)
    found = whole.newest()
    assert found.state is not None
    assert found.state["position"]["step"] == load_checkpoint(before)["position"]["step"]
    assert "is damaged" in found.notes[0]
    assert victim.read_bytes() == b"not ours"


@pytest.mark.parametrize("other", ["os.system", 5, [], {"network": "os.system"}])
def test_a_lost_network_is_not_taken_from_what_is_none(tmp_path: Path, other: Any) -> None:
    checkpoints = Checkpoints(tmp_path)
    position = Position(2, 0, 9, [(2, 0.5)]).state()
    checkpoints.save_state({"position": position, "average": other}, step=9, best_epochs=[2])
    assert checkpoints.newest().state is None
    assert not checkpoints.network(2).exists()


def test_half_written_files_do_not_count(whole: Checkpoints) -> None:
    (whole.folder / ".step_000000000009.safetensors.tmp").write_bytes(b"half")
    found = whole.newest()
    assert found.notes == ()
    assert found.state is not None
    assert found.state["position"]["step"] == 4


def test_steps_are_sorted_as_numbers(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, keep_last=9)
    kept.save_network(network_of(0), epoch=0, value=None)
    for step in (9, 10, 99, 100, 123_456_789):
        kept.save_state(state_of(Position(step=step)), step=step, best_epochs=[0])
    state = kept.newest().state
    assert state is not None
    assert state["position"]["step"] == 123_456_789


@pytest.mark.parametrize("averaged", [False, True])
def test_a_lost_network_is_written_again_from_the_state_of_its_epoch(tmp_path: Path, averaged: bool) -> None:
    checkpoints = Checkpoints(tmp_path, keep_last=3)
    network, average = {"w": torch.tensor([1.0])}, {"w": torch.tensor([2.0])}

    def state(epoch: int, batch: int) -> dict[str, Any]:
        return {
            "position": Position(epoch, batch, 10 * epoch + batch, [(2, 0.5)]).state(),
            "network": network,
            "average": {"network": average} if averaged else None,
        }

    checkpoints.save_network(average if averaged else network, epoch=2, value=0.5)
    for step, (epoch, batch) in enumerate([(2, 0), (2, 3), (3, 0)], start=1):
        checkpoints.save_state(state(epoch, batch), step=step, best_epochs=[2])
    checkpoints.network(2).write_bytes(b"cut")
    found = checkpoints.newest()
    assert found.state is not None
    assert found.state["position"]["epoch"] == 3
    assert "is damaged" in found.notes[0]
    assert "written again" in found.notes[1]
    again = load_checkpoint(checkpoints.network(2))["network"]["w"]
    assert torch.equal(again, (average if averaged else network)["w"])


def test_a_file_that_may_not_be_read_is_not_damaged(
    whole: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(whole.folder.iterdir())

    def refused(path: Path, *_: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refused)  # root may read everything
    with pytest.raises(PermissionError, match="step_"):
        whole.newest()
    assert sorted(whole.folder.iterdir()) == before
