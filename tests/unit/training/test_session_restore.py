"""States that no run has stored are refused in one sentence, and never make a wrong result or a trace."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from mlc.errors import UserError
from mlc.training.schedules import Plateau
from tests.unit.training import tiny
from tests.unit.training.tiny import bits

PLATEAU: dict[str, Any] = {"warmup_epochs": 0.0, "patience": 2, "gamma": 0.5}
SESSIONS: dict[str, dict[str, Any]] = {
    "adam": {"optimizer_name": "adam", "ema_decay": 0.9, "schedule": Plateau(**PLATEAU)},
    "sgd": {"optimizer_name": "sgd", "precision": "fp16"},
    "rows": {"optimizer_name": "row_adagrad"},
}


@pytest.fixture(scope="module")
def stored() -> dict[str, dict[str, Any]]:
    """What sessions of several kinds hold after three steps."""
    states = {}
    for name, changes in SESSIONS.items():
        session = tiny.session(max_epochs=1, max_steps=3, **changes)
        tiny.train(session)
        session.position.ranked = [(1, 0.5)]
        states[name] = session.state()
    return states


def put(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    """A change of a state: this value at that place."""

    def change(state: Any) -> None:
        for key in path[:-1]:
            state = state[key]
        state[path[-1]] = value

    return change


def drop(*path: Any) -> Callable[[dict[str, Any]], None]:
    """A change of a state: that place is empty."""

    def change(state: Any) -> None:
        for key in path[:-1]:
            state = state[key]
        del state[path[-1]]

    return change


WEIGHT, OF_FIRST = "head.logits.weight", ("optimizer", "state", 0)
HOSTILE: dict[str, tuple[str, Callable[[dict[str, Any]], None], str]] = {
    "nothing": ("adam", lambda state: state.clear(), "does not hold average"),
    "a piece too much": ("adam", put("hook", value="os.system"), "does not hold average"),
    "no network": ("adam", drop("network"), "does not hold average"),
    "a network that is a list": ("adam", put("network", value=[1]), "list"),
    "a weight of another shape": ("adam", put("network", WEIGHT, value=torch.ones(2, 8)), "size mismatch"),
    "a weight that is a text": ("adam", put("network", WEIGHT, value="os.system"), WEIGHT),
    "a weight that is missing": ("adam", drop("network", WEIGHT), "Missing key"),
    "a complex weight": (
        "adam",
        put("network", WEIGHT, value=torch.ones(3, 8, dtype=torch.complex64)),
        "complex",
    ),
    "no average": ("adam", put("average", value=None), "its average .* trainer.ema_decay"),
    "an average that nobody asked for": ("sgd", put("average", value={}), "trainer.ema_decay"),
    "an average of more steps than the run": ("adam", put("average", "steps", value=4), "of 4 steps"),
    "an average of NaN steps": ("adam", put("average", "steps", value=float("nan")), "of nan steps"),
    "an average of another shape": (
        "adam",
        put("average", "network", WEIGHT, value=torch.ones(1)),
        "size mismatch",
    ),
    "a negative step": ("adam", put("position", "step", value=-3), "step=-3"),
    "a step that is NaN": ("adam", put("position", "step", value=float("nan")), "step=nan"),
    "a step that is huge": ("adam", put("position", "step", value=10**400), "step=10000"),
    "a step that is true": ("adam", put("position", "step", value=True), "step=True"),
    "an epoch that is a text": ("adam", put("position", "epoch", value="1"), "epoch=1"),
    "a time that is infinite": ("adam", put("position", "train_time_s", value=float("inf")), "train_time_s"),
    "a negative time": ("adam", put("position", "valid_time_s", value=-1.0), "valid_time_s"),
    "no best network": ("adam", put("position", "ranked", value=[]), "ranked"),
    "a best network of the future": ("adam", put("position", "ranked", value=[[9, 0.5]]), "ranked"),
    "a best value that is NaN": ("adam", put("position", "ranked", value=[[1, float("nan")]]), "ranked"),
    "another best network": ("adam", put("position", "best_epoch", value="../../x"), "best_epoch"),
    "more bad steps than steps": ("adam", put("position", "bad_steps", value=9), "bad_steps=9"),
    "a position without an epoch": ("adam", drop("position", "epoch"), "position does not hold"),
    "a position that is a list": ("adam", put("position", value=[1, 2]), "position is no mapping"),
    "an optimiser that is a text": ("adam", put("optimizer", value="adam"), "str"),
    "no groups": ("adam", put("optimizer", "param_groups", value=[]), "zip"),
    "parameters in another order": (
        "adam",
        lambda state: state["optimizer"]["param_groups"][0]["params"].reverse(),
        "other parameters",
    ),
    "a moment of another shape": ("adam", put(*OF_FIRST, "exp_avg", value=torch.ones(99)), "another exp_avg"),
    "a moment of no shape": (
        "adam",
        put(*OF_FIRST, "exp_avg_sq", value=torch.ones(())),
        "another exp_avg_sq",
    ),
    "a moment that is a number": ("adam", put(*OF_FIRST, "exp_avg", value=1.0), "another exp_avg"),
    "a moment that is missing": ("adam", drop(*OF_FIRST, "exp_avg"), "keeps"),
    "a step of Adam that is negative": (
        "adam",
        put(*OF_FIRST, "step", value=torch.tensor(-1.0)),
        "another step",
    ),
    "a step of Adam that is NaN": (
        "adam",
        put(*OF_FIRST, "step", value=torch.tensor(float("nan"))),
        "another step",
    ),
    "more steps of Adam than of the run": (
        "adam",
        put(*OF_FIRST, "step", value=torch.tensor(4.0)),
        "another step",
    ),
    "a parameter that is not there": ("adam", put("optimizer", "state", 999, value={}), "not there"),
    "a momentum of another shape": (
        "sgd",
        put(*OF_FIRST, "momentum_buffer", value=torch.ones(1, 1)),
        "another momentum_buffer",
    ),
    "a sum of another shape": ("rows", put(*OF_FIRST, "sum", value=torch.ones(3)), "another sum"),
    "a sum that is missing": ("rows", drop(*OF_FIRST, "sum"), "sum"),
    "steps of another type": ("rows", put(*OF_FIRST, "step", value="3"), "another step"),
    "cuts of the rate without end": ("adam", put("schedule", "cuts", value=10**30), "cut the rate"),
    "a negative number of cuts": ("adam", put("schedule", "cuts", value=-5), "cut the rate"),
    "a schedule without its memory": ("adam", put("schedule", value={}), "cuts"),
    "a wait that is too long": ("adam", put("schedule", "bad_epochs", value=5), "wait so long"),
    "no scale": ("sgd", put("stepper", value={}), "trainer.precision"),
    "a scale that nobody asked for": ("adam", put("stepper", value={"scaler": {}}), "trainer.precision"),
    "a scale that is NaN": ("sgd", put("stepper", "scaler", "scale", value=float("nan")), "scaled by"),
    "a scale of 0": ("sgd", put("stepper", "scaler", "scale", value=0.0), "scaled by"),
    "random numbers of another size": (
        "adam",
        put("random", "cpu", value=[torch.zeros(3, dtype=torch.uint8)]),
        "RNG state",
    ),
    "random numbers that are floats": ("adam", put("random", "cpu", value=[torch.zeros(5056)]), "ByteTensor"),
    "no random numbers": ("adam", put("random", "cpu", value=[]), "no random numbers"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_state_is_refused_in_a_sentence(name: str, stored: dict[str, dict[str, Any]]) -> None:
    kind, change, words = HOSTILE[name]
    state = copy.deepcopy(stored[kind])
    change(state)
    session = tiny.session(max_epochs=1, **SESSIONS[kind])
    with pytest.raises(UserError, match=words) as refused:
        session.restore(state, place="here/checkpoints")
    said = str(refused.value)
    assert said.startswith("here/checkpoints does not fit the config.yaml of its run (")
    assert len(said) < 400
    assert "\n" not in said


@pytest.mark.parametrize("kind", SESSIONS)
def test_the_options_of_an_optimiser_are_those_of_the_config(
    kind: str, stored: dict[str, dict[str, Any]]
) -> None:
    state = copy.deepcopy(stored[kind])
    state["optimizer"]["param_groups"][0] |= {"lr": "os.system", "weight_decay": 1e9, "hook": "os.system"}
    session = tiny.session(max_epochs=1, **SESSIONS[kind])
    before = [{k: v for k, v in group.items() if k != "params"} for group in session.optimizer.param_groups]
    session.restore(state)
    after = [{k: v for k, v in group.items() if k != "params"} for group in session.optimizer.param_groups]
    assert after == before
    assert bits(session.state()["network"]) == bits(stored[kind]["network"])


def test_more_batches_than_an_epoch_has_are_refused(stored: dict[str, dict[str, Any]]) -> None:
    session = tiny.session(max_epochs=3, **SESSIONS["adam"])
    session.restore({**stored["adam"], "position": {**stored["adam"]["position"], "batch": 6}})
    with pytest.raises(UserError, match="done 6 batches of an epoch that has 5"):
        tiny.train(session)
