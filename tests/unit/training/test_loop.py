import copy
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mlc.errors import Fault, UserError
from mlc.training.checkpoint import load_checkpoint, save_checkpoint
from mlc.training.evaluation import run_network
from mlc.training.loop import Position, Session, StepReport, fit, nothing_left
from mlc.training.order import epoch_order
from mlc.training.schedules import Cosine, Plateau, Schedule
from tests.contract.grid import names
from tests.unit.training import tiny

ROWS = 31  # with batches of 6 the last one has a single row


def valid_loss(session: Session) -> float:
    """Mean loss over the validation rows, which draws a random number too, as a validation may."""
    torch.rand(1)
    chunks = run_network(session.network, tiny.split(23, 1), batch_size=7, bf16=False)
    losses = [session.loss(chunk.raw, chunk.y_BL) for chunk in chunks]
    return float(torch.cat(losses).mean())


def train(
    session: Session,
    validate: Callable[[], Mapping[str, float]] | None = None,
    on_epoch: Callable[[Mapping[str, float], bool], None] = lambda metrics, improved: None,
    on_step: Callable[[StepReport], None] = lambda report: None,
) -> None:
    fit(
        session,
        tiny.split(ROWS),
        validate=validate or (lambda: {"loss": valid_loss(session)}),
        on_step=on_step,
        on_epoch=on_epoch,
    )


def bits(state: Any) -> Any:
    """A state as something that compares bit for bit, without the times."""
    if isinstance(state, Tensor):
        return (state.dtype, state.shape, state.reshape(-1).view(torch.uint8).tolist())
    if isinstance(state, dict):
        return {key: bits(value) for key, value in state.items() if not str(key).endswith("_time_s")}
    if isinstance(state, list | tuple):
        return [bits(value) for value in state]
    return state


@pytest.mark.parametrize("optimizer", names("optimizer"))
@pytest.mark.parametrize("stop_after", [1, 3])
def test_a_resumed_run_equals_an_undisturbed_one(optimizer: str, stop_after: int, tmp_path: Path) -> None:
    def session(seed: int) -> Session:
        schedule = Plateau(warmup_epochs=1.5, patience=1, gamma=0.5)
        return tiny.session(
            optimizer_name=optimizer, seed=seed, schedule=schedule, max_epochs=5, clip_norm=1.0
        )

    undisturbed = session(0)
    start = copy.deepcopy(undisturbed.network.state_dict())

    def save(metrics: Mapping[str, float], improved: bool) -> None:
        if undisturbed.position.epoch == stop_after:
            save_checkpoint(tmp_path / "last", undisturbed.state())

    train(undisturbed, on_epoch=save)
    resumed = session(0)
    resumed.network.load_state_dict(tiny.network(77).state_dict())  # nothing may come from the new network
    torch.manual_seed(99)
    resumed.restore(load_checkpoint(tmp_path / "last"))
    assert resumed.position.epoch == stop_after
    train(resumed)
    assert undisturbed.position.epoch == 5
    assert bits(resumed.state()) == bits(undisturbed.state())
    # And the run was one that could have gone wrong.
    trained = undisturbed.network.state_dict()
    assert not any(torch.equal(trained[key], start[key]) for key in trained if trained[key].dim() > 1)


def test_a_plateau_cut_before_the_stop_is_remembered(tmp_path: Path) -> None:
    def session() -> Session:
        return tiny.session(schedule=Plateau(warmup_epochs=0.0, patience=1, gamma=0.5), max_epochs=4)

    values = iter([1.0, 2.0, 3.0, 0.5])
    first = session()

    def save(metrics: Mapping[str, float], improved: bool) -> None:
        if first.position.epoch == 3:
            save_checkpoint(tmp_path / "last", first.state())

    train(first, lambda: {"loss": next(values)}, on_epoch=save)
    second = session()
    second.restore(load_checkpoint(tmp_path / "last"))
    train(second, lambda: {"loss": 0.5})
    assert second.schedule.state() == {"cuts": 2, "bad_epochs": 0}
    assert bits(second.state()) == bits(first.state())


def test_two_equal_sessions_train_equally_and_other_seeds_do_not() -> None:
    sessions = [tiny.session(seed=seed) for seed in (4, 4, 5)]
    for session in sessions:
        torch.manual_seed(session.seed)
        train(session)
    first, again, other = (bits(session.network.state_dict()) for session in sessions)
    assert first == again
    assert first != other


def test_training_learns() -> None:
    session = tiny.session(lr=0.3, max_epochs=30)
    before = valid_loss(session)
    train(session)
    assert valid_loss(session) < before - 0.2


@pytest.mark.parametrize("n_rows", [1, 2, 5, 6, 7, 13, 24, 25, 100])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 6, 12, 1000])
def test_an_epoch_has_every_row_once(n_rows: int, batch_size: int) -> None:
    batches = epoch_order(n_rows, batch_size, seed=1, epoch=2)
    assert sorted(torch.cat(batches).tolist()) == list(range(n_rows))
    sizes = [len(batch) for batch in batches]
    assert set(sizes[:-1]) <= {batch_size}
    assert sizes[-1] <= batch_size + 1
    if n_rows > 1 and batch_size > 1:
        assert sizes[-1] > 1


def test_the_number_of_batches_does_not_change_between_epochs() -> None:
    assert len({len(epoch_order(31, 6, seed=s, epoch=e)) for s in range(3) for e in range(3)}) == 1


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    orders = {}
    for seed in range(20):
        for epoch in range(20):
            torch.manual_seed(seed + epoch)
            orders[seed, epoch] = tuple(torch.cat(epoch_order(50, 7, seed=seed, epoch=epoch)).tolist())
    assert len(set(orders.values())) == len(orders)
    torch.manual_seed(1234)
    assert tuple(torch.cat(epoch_order(50, 7, seed=3, epoch=4)).tolist()) == orders[3, 4]


def test_the_order_takes_nothing_from_the_global_random_state() -> None:
    before = torch.get_rng_state()
    epoch_order(50, 7, seed=3, epoch=4)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_largest_seed_has_an_order() -> None:
    assert len(epoch_order(8, 4, seed=2**32 - 1, epoch=10_000)) == 2


def gradient_norms(clip_norm: float | None) -> list[float]:
    """The norm of the whole gradient at each step, as the optimiser gets it."""
    session, norms = tiny.session(clip_norm=clip_norm, max_epochs=2, lr=0.01), []

    def look(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        gradients = [p.grad.flatten() for g in optimizer.param_groups for p in g["params"]]
        norms.append(float(torch.cat(gradients).norm()))

    session.optimizer.register_step_pre_hook(look)
    train(session)
    return norms


def test_clip_norm_limits_the_gradient() -> None:
    free = gradient_norms(None)
    limit = sorted(free)[len(free) // 2]
    clipped = gradient_norms(limit)
    assert max(free) > limit * 1.1
    assert max(clipped) <= limit * (1 + 1e-5)
    assert sum(norm > limit * 0.999 for norm in clipped) > 1, "it was never needed"
    assert min(clipped) < limit * 0.9, "what is small enough must stay as it is"


def scripted(values: list[float], name: str = "loss", **changes: Any) -> tuple[Session, list[bool]]:
    """A session whose validations give these values, trained to its end; and which were the best so far."""
    session, script, improvements = tiny.session(monitor=name, **changes), iter(values), []
    train(session, lambda: {name: next(script)}, on_epoch=lambda _, improved: improvements.append(improved))
    return session, improvements


@pytest.mark.parametrize(
    ("patience", "values", "stopped_after", "best_epoch"),
    [
        (1, [3, 2, 2.5, 1, 0, 0], 3, 2),
        (2, [3, 4, 2, 2, 2, 1], 5, 3),
        (2, [3, 4, 2, 4, 1, 0], 6, 6),
        (3, [1, 1, 1, 1, 0, 0], 4, 1),
        (None, [1, 2, 3, 4, 5, 6], 6, 1),
        (9, [1, 2, 3, 4, 5, 6], 6, 1),
    ],
)
def test_patience(patience: int | None, values: list[float], stopped_after: int, best_epoch: int) -> None:
    session, improvements = scripted(values, patience=patience, max_epochs=6)
    position = session.position
    assert position.epoch == len(improvements) == stopped_after
    assert position.best_epoch == best_epoch
    assert position.best_value == values[best_epoch - 1]
    assert nothing_left(position, session.settings)


def test_a_metric_where_larger_is_better() -> None:
    session, improvements = scripted([0.1, 0.3, 0.2, 0.4], name="micro_f1", max_epochs=4)
    assert improvements == [True, True, False, True]
    assert (session.position.best_epoch, session.position.best_value) == (4, 0.4)


def test_a_metric_where_smaller_is_better_and_equal_is_not() -> None:
    session, improvements = scripted([0.4, 0.3, 0.3, 0.5], name="hamming_loss", max_epochs=4)
    assert improvements == [True, True, False, False]
    assert (session.position.best_epoch, session.position.best_value) == (2, 0.3)


def test_the_schedule_hears_whether_it_improved() -> None:
    class Notes(Cosine):
        def observe(self, improved: bool) -> None:
            heard.append(improved)

    heard: list[bool] = []
    _, improvements = scripted(
        [2, 3, 1, 1], schedule=Notes(warmup_epochs=0.0, final_factor=0.0), max_epochs=4
    )
    assert heard == improvements == [True, False, True, False]


@pytest.mark.parametrize("metrics", [{}, {"micro_f1": 0.5}])
def test_a_monitored_metric_that_is_not_there_is_the_users_to_change(metrics: dict[str, float]) -> None:
    with pytest.raises(UserError, match=r"^trainer\.monitor=loss is not defined"):
        train(tiny.session(), lambda: metrics)


def test_a_monitored_metric_that_becomes_nan_is_a_fault() -> None:
    with pytest.raises(Fault, match=r"^the validation metric loss became NaN"):
        train(tiny.session(), lambda: {"loss": math.nan})


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_a_fault_before_anything_is_saved(bad: float) -> None:
    session, saved, seen = tiny.session(max_epochs=3), [], []
    real = session.loss.forward

    def forward(output: Any, y_BL: Tensor, weight_B: Tensor | None = None) -> Tensor:
        seen.append(len(y_BL))
        return real(output, y_BL, weight_B) * (bad if len(seen) == 8 else 1.0)

    session.loss.forward = forward  # type: ignore[method-assign]
    with pytest.raises(Fault, match=r"training loss became .* before step 8: lower optimizer\.lr") as fault:
        train(session, lambda: {"loss": 1.0}, on_epoch=lambda *_: saved.append(session.position.epoch))
    assert "last whole epoch" in str(fault.value)
    assert saved == [1]


def test_reports_tell_of_all_rows_since_the_last() -> None:
    session, losses, reports = tiny.session(max_epochs=1, log_every_steps=2), [], []
    real = session.loss.forward

    def forward(output: Any, y_BL: Tensor, weight_B: Tensor | None = None) -> Tensor:
        losses.append(real(output, y_BL, weight_B))
        return losses[-1]

    session.loss.forward = forward  # type: ignore[method-assign]
    train(session, lambda: {"loss": 1.0}, on_step=reports.append)
    assert [len(loss_B) for loss_B in losses] == [6, 6, 6, 6, 7], "the single row joins the batch before"
    assert [report.step for report in reports] == [2, 4, 5]
    expected = [torch.cat(losses[:2]), torch.cat(losses[2:4]), losses[4]]
    assert [r.loss for r in reports] == pytest.approx([float(e.mean().detach()) for e in expected], rel=1e-6)
    assert all(report.examples_per_s > 0 for report in reports)


def test_the_learning_rate_is_the_schedules() -> None:
    class Known(Schedule):
        def _factor(self, epochs_done: float, max_epochs: int) -> float:
            return epochs_done + 100 * max_epochs

    reports: list[StepReport] = []
    session = tiny.session(lr=1e-5, schedule=Known(warmup_epochs=0.0), max_epochs=2, log_every_steps=1)
    train(session, on_step=reports.append)
    # In the middle of each step: 5 batches an epoch.
    expected = [1e-5 * (200 + (step + 0.5) / 5) for step in range(10)]
    assert [report.learning_rate for report in reports] == pytest.approx(expected, rel=1e-12)


def test_the_network_trains_in_training_mode_whatever_validation_does() -> None:
    session, modes = tiny.session(max_epochs=2), []
    session.network.head.register_forward_pre_hook(lambda module, _: modes.append(module.training))

    def validate() -> dict[str, float]:
        session.network.eval()
        return {"loss": 1.0}

    train(session, validate)
    assert modes == [True] * 10


def test_position_counts() -> None:
    session = tiny.session(max_epochs=3)
    train(session)
    position = session.position
    assert (position.epoch, position.step) == (3, 15)
    assert position.train_time_s > 0
    assert position.valid_time_s > 0


def test_a_finished_session_does_nothing_more() -> None:
    session = tiny.session(max_epochs=2)
    train(session)
    before = bits(session.state())
    train(session, validate=lambda: pytest.fail("validated again"))
    assert bits(session.state()) == before


@pytest.mark.parametrize("max_epochs", [0, 3])
def test_nothing_left_at_the_last_epoch(max_epochs: int) -> None:
    settings = tiny.settings(max_epochs=max_epochs)
    assert nothing_left(Position(epoch=max_epochs), settings)
    assert not nothing_left(Position(epoch=max_epochs - 1), settings)


def test_more_epochs_go_on_where_a_shorter_run_ended(tmp_path: Path) -> None:
    long, short = tiny.session(max_epochs=4), tiny.session(max_epochs=2)
    torch.manual_seed(0)
    train(long)
    torch.manual_seed(0)
    train(short)
    save_checkpoint(tmp_path / "last", short.state())
    extended = tiny.session(max_epochs=4)
    extended.restore(load_checkpoint(tmp_path / "last"))
    train(extended)
    assert bits(extended.state()) == bits(long.state())
