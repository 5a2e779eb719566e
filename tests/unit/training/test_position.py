"""How far a run has come, as a checkpoint holds it."""

from pathlib import Path
from typing import Any

import pytest

from mlc.training.checkpoint import load_checkpoint, save_checkpoint
from mlc.training.position import MOST, Position

PLAIN = Position(3, 2, 17, [(2, 0.25), (1, None)], 4, 1, 1.5, 0.5)


def test_a_position_comes_back_from_plain_values(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a", {"position": PLAIN.state()})
    stored = load_checkpoint(tmp_path / "a")["position"]
    assert stored["best_epoch"] == 2
    assert Position.of(stored) == PLAIN
    assert Position.of(vars(PLAIN)) == PLAIN, "the best epoch stands in the ranks, too"
    assert (PLAIN.best_epoch, PLAIN.best_value) == (2, 0.25)


def test_the_first_and_the_last_position_there_can_be() -> None:
    assert Position.of(Position().state()) == Position()
    last = Position(MOST, MOST, MOST, [(MOST, -1e300)], MOST, MOST, 1e9, 0.0)
    assert Position.of(last.state()) == last


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": MOST + 1},
        {"epoch": 2.0},
        {"batch": -1},
        {"step": False},
        {"bad_in_a_row": 5},
        {"ranked": "os"},
        {"ranked": [(2,)]},
        {"ranked": [(2, "os")]},
        {"ranked": [(2, True)]},
        {"ranked": [(4, 0.5)]},
        {"ranked": [(2, 10**400)]},
        {"ranked": [(2, -(10**400))]},
        {"ranked": [(2, float("-inf"))]},
        {"train_time_s": 10**400},
        {"best_epoch": 1},
        {"best_epoch": "2"},
        {"hook": 1},
    ],
)
def test_no_run_comes_to_it(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^its position "):
        Position.of(PLAIN.state() | change)
