"""How far a run has come, and which network was best."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

MOST = 2**53  # a whole number above it is no count of anything


@dataclass
class Position:
    """How far a run has come; it travels in the checkpoint.

    Args:
        epoch: epochs completed, their validation included.
        batch: batches done of the epoch after them.
        step: optimiser steps taken or left out.
        ranked: epoch and monitored value of the best networks, the best first; epoch 0 is the untrained one.
        bad_steps: steps left out because they were not finite.
        bad_in_a_row: those of them since the last good step.
        train_time_s: seconds spent in training steps, over all sessions of the run.
        valid_time_s: seconds spent in validation, likewise.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    ranked: list[tuple[int, float | None]] = field(default_factory=lambda: [(0, None)])
    bad_steps: int = 0
    bad_in_a_row: int = 0
    train_time_s: float = 0.0
    valid_time_s: float = 0.0

    @property
    def best_epoch(self) -> int:
        """The epoch after which the monitored metric was best; 0 is the untrained network."""
        return self.ranked[0][0]

    @property
    def best_value(self) -> float | None:
        """That value; None before the first validation."""
        return self.ranked[0][1]

    def improves(self, value: float, sign: int) -> bool:
        """Whether a monitored value is better than all before (`sign` +1: larger is better)."""
        return self.best_value is None or sign * value > sign * self.best_value

    def rank(self, value: float, *, sign: int, keep: int) -> bool:
        """Rank this epoch's network among the `keep` best, of equals the first; whether it is one of them."""
        measured = [(epoch, old) for epoch, old in self.ranked if old is not None]
        ranked = sorted(
            [*measured, (self.epoch, value)], key=lambda item: (-sign * (item[1] or 0.0), item[0])
        )
        self.ranked = list(ranked[:keep])
        return any(epoch == self.epoch for epoch, _ in self.ranked)

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {**asdict(self), "best_epoch": self.best_epoch}

    @classmethod
    def of(cls, state: object) -> "Position":
        """A position from a checkpoint.

        Raises:
            ValueError: no run comes to such a position; says why.
        """
        if not isinstance(state, Mapping):
            raise ValueError("its position is no mapping")
        values = {key: value for key, value in state.items() if key != "best_epoch"}
        names = {own.name for own in fields(cls)}
        if values.keys() != names:
            raise ValueError(f"its position does not hold {', '.join(sorted(names))}")
        for name in ("epoch", "batch", "step", "bad_steps", "bad_in_a_row"):
            _check(is_count(values[name]), name, values[name])
        for name in ("train_time_s", "valid_time_s"):
            _check(_is_number(values[name]) and values[name] >= 0, name, values[name])
        ranked = values["ranked"]
        _check(isinstance(ranked, list) and len(ranked) > 0, "ranked", ranked)
        _check(all(_is_rank(item, most=values["epoch"]) for item in ranked), "ranked", ranked)
        position = cls(**{**values, "ranked": [(epoch, value) for epoch, value in ranked]})
        _check(position.bad_in_a_row <= position.bad_steps <= position.step, "bad_steps", position.bad_steps)
        best = state.get("best_epoch", position.best_epoch)
        _check(is_count(best) and best == position.best_epoch, "best_epoch", best)
        return position


def is_count(value: object, *, most: int = MOST) -> bool:
    """Whether a value from a file is a whole number from 0 to `most`."""
    return type(value) is int and 0 <= value <= most


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and abs(value) <= MOST and math.isfinite(value)  # type: ignore[arg-type]


def _is_rank(item: object, *, most: int) -> bool:
    if not isinstance(item, list | tuple) or len(item) != 2:
        return False
    epoch, value = item
    is_value = value is None or _is_number(value) or (type(value) is float and math.isfinite(value))
    return is_count(epoch, most=most) and is_value


def _check(right: bool, name: str, value: object) -> None:
    if not right:
        raise ValueError(f"its position has {name}={str(value)[:40]}")
