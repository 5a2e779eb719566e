"""The moving average of the weights, against the recursion written out."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mlc.training import finish, step
from mlc.training.run import run
from mlc.training.run_files import RunFiles, load_facts
from mlc.training.session import Session
from tests.unit.training import tiny, tiny_job
from tests.unit.training.test_step import always_bad
from tests.unit.training.tiny import bits


def followed(session: Session) -> tuple[list[Tensor], list[Tensor]]:
    """The weights before training and after every step, and the averages after every step, in float64."""

    def flat(network: torch.nn.Module) -> Tensor:
        return torch.cat([p.detach().double().flatten() for p in network.parameters()])

    weights, averages = [flat(session.network)], []

    def look() -> None:
        weights.append(flat(session.network))
        averages.append(flat(session.evaluated))

    tiny.train(session, after_step=look, bad_step=lambda _: None)
    return weights, averages


def history(**changes: Any) -> tuple[list[Tensor], list[Tensor], Any]:
    """A session on the tiny problem, followed."""
    session = tiny.session(**changes)
    return *followed(session), session


def recursion(weights: list[Tensor], decay: float) -> list[Tensor]:
    """a_t = d a_{t-1} + (1 - d) w_t with d = min(decay, (1 + t) / (10 + t)), t from 0."""
    average, found = weights[0], []
    for t, weight in enumerate(weights[1:]):
        d = min(decay, (1 + t) / (10 + t))
        average = d * average + (1 - d) * weight
        found.append(average)
    return found


@pytest.mark.parametrize("decay", [0.2, 0.999])
def test_it_is_the_recursion(decay: float) -> None:
    weights, averages, session = history(ema_decay=decay, max_epochs=3)
    for found, expected in zip(averages, recursion(weights, decay), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    assert not torch.allclose(averages[-1], weights[-1], atol=1e-3)
    # The statistics of batch normalisation are those of the network, which were measured with its weights.
    for own, buffer in zip(session.evaluated.buffers(), session.network.buffers(), strict=True):
        assert torch.equal(own, buffer)


def test_training_does_not_feel_it() -> None:
    with_average, without = (tiny.session(ema_decay=decay, max_epochs=2) for decay in (0.9, None))
    for session in (with_average, without):
        torch.manual_seed(0)
        tiny.train(session)
    assert bits(with_average.network.state_dict()) == bits(without.network.state_dict())


def test_the_optimiser_does_not_have_its_weights() -> None:
    session = tiny.session(ema_decay=0.9)
    own = {id(p) for group in session.optimizer.param_groups for p in group["params"]}
    assert not own & {id(p) for p in session.evaluated.parameters()}
    assert not any(p.requires_grad for p in session.evaluated.parameters())


def test_a_run_evaluates_it_keeps_it_and_ends_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finish, "draw_evaluation", lambda *_, **__: {})  # pictures take time
    weights, averages, twin = history(max_epochs=1, ema_decay=0.5)
    run(tiny_job.job(tmp_path, ema_decay=0.5), found=None)
    kept = tiny_job.best_network(tmp_path)
    _, parts = load_facts(RunFiles(tmp_path).classifier)
    state = tiny_job.found(tmp_path).state
    assert state is not None
    for stored in (kept, parts["network"], state["average"]["network"]):
        assert bits(dict(stored)) == bits(dict(twin.evaluated.state_dict()))
    assert bits(dict(state["network"])) == bits(dict(twin.network.state_dict()))
    torch.testing.assert_close(averages[-1], recursion(weights, 0.5)[-1], atol=1e-6, rtol=1e-5)

    # What was validated is the average: its loss is the value that ranks it.
    losses = []
    for network in (twin.evaluated, twin.network):
        raw = network.eval()(tiny.dataset().valid.inputs)
        losses.append(float(tiny.loss()(raw, tiny.dataset().valid.y_NL).mean().detach()))
    assert state["position"]["ranked"][0] == [1, pytest.approx(losses[0], rel=1e-6)]
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)


def on_the_device(session: Session, monkeypatch: pytest.MonkeyPatch) -> Session:
    """The session as it is on CUDA: whether a step is left out is a tensor, and the host does not look."""
    asked = step._not_finite
    monkeypatch.setattr(step, "_not_finite", lambda *given: torch.as_tensor(asked(*given)))
    session.stepper._on_device = True
    return session


@pytest.mark.parametrize("bad_steps", [(), (2, 3, 7)])
def test_a_step_that_is_left_out_does_not_count_also_where_the_host_does_not_know(
    bad_steps: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, averages, states = {}, {}, {}
    for where in ("host", "device"):
        session = tiny.session(ema_decay=0.9, max_epochs=2)
        if where == "device":
            on_the_device(session, monkeypatch)
        always_bad(session, set(bad_steps))
        weights[where], averages[where] = followed(session)
        states[where] = bits(session.state()["average"])
    assert states["device"] == states["host"]
    assert session.average is not None
    assert session.average.state()["steps"] == 10 - len(bad_steps)
    good = [weights["device"][0], *(w for i, w in enumerate(weights["device"][1:], 1) if i not in bad_steps)]
    torch.testing.assert_close(averages["device"][-1], recursion(good, 0.9)[-1], atol=1e-6, rtol=1e-5)


def test_a_step_that_only_overflowed_does_not_count_either() -> None:
    session = tiny.session(ema_decay=0.9, max_epochs=2, precision="fp16")
    session.stepper.restore({"scaler": {**session.stepper.state()["scaler"], "scale": 2.0**24}})
    followed(session)
    scale = session.stepper.state()["scaler"]["scale"]
    overflowed = 24 - int(math.log2(scale))
    assert overflowed > 0
    assert session.average is not None
    assert session.average.state()["steps"] == 10 - overflowed
