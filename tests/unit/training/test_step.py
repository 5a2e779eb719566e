"""One step: clipping, and steps that are not finite."""

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mlc.data.dataset import Split
from mlc.errors import Fault
from mlc.model import Network
from mlc.outputs.base import LabelOutput
from mlc.training.faults import describe
from mlc.training.order import epoch_order
from mlc.training.session import Session
from mlc.training.step import Stepper
from tests.unit.training import tiny
from tests.unit.training.tiny import bits


def clipped(gradient: list[float], **changes: Any) -> list[float]:
    """What the optimiser gets of a gradient over two parameters."""
    parameters = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(len(gradient) - 2))]
    stepper = Stepper(
        nn.ParameterList(parameters), torch.optim.SGD(parameters, lr=1.0), tiny.settings(**changes), "cpu"
    )
    stepper.begin()
    stepper.backward(torch.cat(parameters) @ torch.tensor(gradient))
    assert not stepper.step()
    return [-value for parameter in parameters for value in parameter.tolist()]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [30.0, -4.0, 0.5]),
        ({"clip_value": 3.0}, [3.0, -3.0, 0.5]),
        ({"clip_norm": 100.0}, [30.0, -4.0, 0.5]),
        # By value first: the norm is then that of (4, -4, 0.5), and not of (30, -4, 0.5).
        ({"clip_value": 4.0, "clip_norm": 0.57}, [4 * 0.1, -4 * 0.1, 0.5 * 0.1]),
        ({"clip_value": 4.0, "clip_norm": 5.8}, [4.0, -4.0, 0.5]),
    ],
)
def test_clipping_by_value_comes_before_clipping_by_norm(
    changes: dict[str, float], expected: list[float]
) -> None:
    norm = math.hypot(4, 4, 0.5)
    if changes.get("clip_norm") == 0.57:
        changes = changes | {"clip_norm": 0.1 * norm}
    assert clipped([30.0, -4.0, 0.5], **changes) == pytest.approx(expected, rel=1e-4)


def test_clip_norm_is_over_all_parameters_together() -> None:
    assert clipped([3.0, 0.0, 4.0], clip_norm=1.0) == pytest.approx([0.6, 0, 0.8], rel=1e-4)


# Steps that are not finite.

ROWS = 31


def without_dropout() -> Network:
    network = tiny.network()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return network


def bad_input(session: Session, split: Split, step: int) -> None:
    """A NaN in one row of that step, of the first epoch."""
    row = rows_of(session, step)[0]
    x = split.inputs["x"]
    assert isinstance(x, Tensor)
    x[row, 1] = math.nan


def bad_loss(session: Session, split: Split, step: int) -> None:
    change_losses(session, {step}, math.nan)


def change_losses(session: Session, steps: set[int], factor: float) -> None:
    """Multiply the losses of these steps, of micro-batches if there are any."""
    calls: list[int] = []
    loss = session._objective._loss[0]  # type: ignore[union-attr, index]
    mean = loss.mean  # type: ignore[union-attr]

    def changed(*given: Any, **options: Any) -> Tensor:
        calls.append(1)
        value: Tensor = mean(*given, **options)
        return value * (factor if len(calls) in steps else 1.0)

    loss.mean = changed  # type: ignore[union-attr, assignment]


def bad_gradient(session: Session, split: Split, step: int) -> None:
    """The loss stays finite."""
    calls = []

    def look(module: nn.Module, given: Any, output: LabelOutput) -> None:
        if not module.training:
            return
        calls.append(1)
        if len(calls) == step:
            output.logits_BL.register_hook(lambda gradient: gradient * math.inf)  # type: ignore[attr-defined]

    session.network.head.register_forward_hook(look)


def rows_of(session: Session, step: int) -> Tensor:
    return epoch_order(ROWS, 6, seed=session.seed, epoch=0)[step - 1]


MAKE_BAD = pytest.mark.parametrize("make_bad", [bad_input, bad_loss, bad_gradient])


@MAKE_BAD
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adadelta"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_that_is_not_finite_changes_nothing(make_bad: Any, optimizer: str, precision: str) -> None:
    split, after, told = tiny.split(ROWS), [], []
    session = tiny.session(
        optimizer_name=optimizer, max_epochs=1, precision=precision, clip_norm=1.0, clip_value=0.5
    )
    make_bad(session, split, 3)
    tiny.train(
        session,
        split,
        bad_step=told.append,
        after_step=lambda: after.append(
            bits([session.network.state_dict(), session.optimizer.state_dict()["state"]])
        ),
    )
    assert [bad.step for bad in told] == [3]
    assert after[2] == after[1], "weights, optimiser and the statistics of batch normalisation"
    assert after[1] != after[0]
    assert after[3] != after[2], "and it goes on"
    assert all(value.isfinite().all() for value in session.network.state_dict().values())
    assert (session.position.step, session.position.bad_steps, session.position.bad_in_a_row) == (5, 1, 0)


def test_a_step_left_out_is_as_if_it_had_not_been() -> None:
    """Training goes on as without that batch; no dropout, so that there are no random numbers in between."""
    ends = []
    for skip in (False, True):
        session = tiny.session(net=without_dropout(), max_epochs=1)
        if not skip:
            bad_gradient(session, tiny.split(ROWS), 2)
        split = tiny.split(ROWS)
        order = epoch_order(ROWS, 6, seed=0, epoch=0)
        if skip:
            del order[1]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mlc.training.loop.epoch_order", lambda *_, order=order, **__: order)
            tiny.train(session, split, bad_step=lambda _: None)
        ends.append(bits(session.network.state_dict()))
    assert ends[0] == ends[1]


@MAKE_BAD
def test_the_report_names_rows_loss_and_labels(make_bad: Any) -> None:
    split, told = tiny.split(ROWS), []
    session = tiny.session(max_epochs=1)
    make_bad(session, split, 3)
    tiny.train(session, split, bad_step=told.append)
    (bad,) = told
    rows_B = rows_of(session, 3)
    assert torch.equal(bad.rows_B, rows_B)
    assert math.isfinite(bad.loss) == (make_bad is bad_gradient)
    said = describe(bad, split, ["a", "b", "c"])
    assert said.startswith("step 3 was not finite (loss ")
    assert f"training rows {', '.join(str(row) for row in rows_B.tolist())};" in said
    counts = tiny.split(ROWS).y_NL[rows_B].sum(0).int().tolist()
    assert all(f"{name} {count}" in said for name, count in zip("abc", counts, strict=True) if count)
    assert ("inputs: x 1" in said) == (make_bad is bad_input)
    assert ("all its inputs are finite" in said) == (make_bad is not bad_input)


def test_the_mean_loss_of_a_report_leaves_bad_steps_out() -> None:
    reports: list[float] = []
    session = tiny.session(max_epochs=1, log_every_steps=5)
    bad_loss(session, tiny.split(ROWS), 2)
    tiny.train(session, report=lambda report: reports.append(report.loss), bad_step=lambda _: None)
    assert math.isfinite(reports[0])


def always_bad(session: Session, steps: set[int]) -> None:
    change_losses(session, steps, math.inf)


def test_too_many_in_a_row_stop_the_run_and_keep_the_weights() -> None:
    session, told, after = tiny.session(max_epochs=2, max_bad_steps=3), [], []
    always_bad(session, {3, 4, 5, 6, 7})
    with pytest.raises(Fault, match=r"^3 steps in a row .*max_bad_steps.* step 5: start a new run"):
        tiny.train(
            session,
            bad_step=told.append,
            after_step=lambda: after.append(bits(session.network.state_dict())),
        )
    assert [bad.step for bad in told] == [3, 4, 5]
    assert bits(session.network.state_dict()) == after[1]


def test_as_many_not_in_a_row_do_not() -> None:
    session, told = tiny.session(max_epochs=2, max_bad_steps=3), []
    always_bad(session, {1, 2, 4, 5, 7, 8, 10})
    tiny.train(session, bad_step=told.append)
    assert [bad.step for bad in told] == [1, 2, 4, 5, 7, 8, 10]
    assert (session.position.bad_steps, session.position.bad_in_a_row) == (7, 1)


def test_bad_steps_in_a_row_are_counted_over_a_resume() -> None:
    first = tiny.session(max_epochs=2, max_bad_steps=3)
    always_bad(first, {4, 5})
    states: list[dict[str, Any]] = []
    tiny.train(first, bad_step=lambda _: None, after_step=lambda: states.append(copy.deepcopy(first.state())))
    second = tiny.session(max_epochs=2, max_bad_steps=3)
    always_bad(second, {1})
    second.restore(states[4])
    with pytest.raises(Fault, match="step 6"):
        tiny.train(second, bad_step=lambda _: None)


# Half precision.


def test_an_overflow_of_the_scaled_loss_is_no_bad_step_and_halves_the_scale() -> None:
    session, scales = tiny.session(max_epochs=3, precision="fp16"), []
    session.stepper.restore({"scaler": {**session.stepper.state()["scaler"], "scale": 2.0**24}})
    before = bits(session.network.state_dict())
    after: list[Any] = []

    def look() -> None:
        scales.append(session.stepper.state()["scaler"]["scale"])
        after.append(bits(session.network.state_dict()))

    tiny.train(session, after_step=look)  # a bad step would be an error
    assert scales[0] == 2.0**23, "it overflowed"
    assert after[0] == before, "and changed nothing, the statistics included"
    assert after[-1] != before


@pytest.mark.parametrize("make_bad", [bad_input, bad_loss])
def test_a_loss_that_is_not_finite_is_told_in_fp16_too(make_bad: Any) -> None:
    """No scale mends it; its rows must be named the first time."""
    split, told, after = tiny.split(ROWS), [], []
    session = tiny.session(max_epochs=1, precision="fp16")
    make_bad(session, split, 3)
    tiny.train(
        session,
        split,
        bad_step=told.append,
        after_step=lambda: after.append(bits(session.network.state_dict())),
    )
    assert [bad.step for bad in told] == [3]
    assert after[2] == after[1]
    assert after[3] != after[2]


def test_gradients_that_stay_infinite_are_told_once_the_scale_is_ordinary() -> None:
    session, told = tiny.session(max_epochs=1, precision="fp16"), []
    session.stepper.restore({"scaler": {**session.stepper.state()["scaler"], "scale": 1.0}})
    bad_gradient(session, tiny.split(ROWS), 1)
    tiny.train(session, bad_step=told.append)
    assert [bad.step for bad in told] == [1]


def test_half_precision_trains_like_full() -> None:
    values = {}
    for precision in ("fp32", "fp16", "bf16"):
        session = tiny.session(net=without_dropout(), max_epochs=3, precision=precision)
        if precision == "fp16":
            session.stepper.restore({"scaler": {**session.stepper.state()["scaler"], "scale": 1024.0}})
        tiny.train(session)
        values[precision] = torch.cat([p.detach().flatten() for p in session.network.parameters()])
    for precision, tolerance in (("fp16", 5e-3), ("bf16", 5e-2)):
        assert not torch.equal(values[precision], values["fp32"])
        torch.testing.assert_close(values[precision], values["fp32"], atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_a_later_overflow_leaves_the_state_of_the_optimiser_alone(name: str) -> None:
    parameter = nn.Parameter(torch.ones(4))
    optimizer = tiny.optimizer(nn.ParameterList([parameter]), name)
    stepper = Stepper(nn.ParameterList([parameter]), optimizer, tiny.settings(precision="fp16"), "cpu")
    states = []
    for factor in (1.0, 2.0, math.inf, 1.0):
        stepper.begin()
        stepper.backward((parameter * factor).sum())
        stepper.step()
        states.append(bits([parameter, optimizer.state_dict()]))
    assert states[2] == states[1]
    assert states[3] != states[2]
    assert parameter.isfinite().all()


@pytest.mark.parametrize(
    "options", [{"momentum": 0.0}, {"momentum": 0.9, "nesterov": True}, {"momentum": 0.9, "dampening": 0.5}]
)
def test_a_fused_sgd_whose_first_step_is_left_out_is_a_plain_one_that_starts_later(
    options: dict[str, Any],
) -> None:
    """PyTorch's own would go on with a momentum of uninitialised memory."""
    parameters = [nn.Parameter(torch.ones(1000)) for _ in range(2)]
    fused = torch.optim.SGD(parameters[:1], lr=0.1, fused=True, **options)
    plain = torch.optim.SGD(parameters[1:], lr=0.1, fused=False, **options)
    stepper = Stepper(nn.ParameterList(parameters[:1]), fused, tiny.settings(precision="fp16"), "cpu")
    torch.full((1000,), 1e30)  # what the memory may have held
    for factor in (math.inf, 1.0, 2.0):
        stepper.begin()
        stepper.backward((parameters[0] * factor).sum())
        stepper.step()
        if math.isfinite(factor):
            (parameters[1] * factor).sum().backward()
            plain.step()
            plain.zero_grad()
    torch.testing.assert_close(parameters[0], parameters[1])


def test_the_scaler_is_part_of_the_state() -> None:
    first, second = tiny.session(precision="fp16"), tiny.session(precision="fp16")
    first.stepper.restore(
        {"scaler": {**first.stepper.state()["scaler"], "scale": 64.0, "_growth_tracker": 7}}
    )
    second.stepper.restore(first.stepper.state())
    assert second.stepper.state()["scaler"]["scale"] == 64.0
    assert second.stepper.state()["scaler"]["_growth_tracker"] == 7
    assert tiny.session(precision="bf16").stepper.state() == {}
