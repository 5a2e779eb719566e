import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from mlc.errors import Fault, UserError
from mlc.training import processes
from mlc.training.checkpoint import load_checkpoint, save_checkpoint
from mlc.training.evaluation import run_network
from mlc.training.loop import StepReport, nothing_left
from mlc.training.order import epoch_order
from mlc.training.position import Position
from mlc.training.schedules import Cosine, Plateau, Schedule
from mlc.training.session import Session
from tests.unit.training import tiny
from tests.unit.training.tiny import bits

# The tiny split has 31 rows: with batches of 6 the last one has a single row.


def valid_loss(session: Session) -> float:
    """Mean loss over the validation rows, which draws a random number too, as a validation may."""
    torch.rand(1)
    chunks = run_network(session.evaluated, tiny.split(23, 1), batch_size=7)
    return float(torch.cat([tiny.loss()(chunk.raw, chunk.y_BL) for chunk in chunks]).mean())


def train(
    session: Session, validate: Callable[[], Mapping[str, float]] | None = None, **told: Callable[..., None]
) -> None:
    tiny.train(session, validate=validate or (lambda: {"loss": valid_loss(session)}), **told)


def test_a_plateau_cut_before_the_stop_is_remembered(tmp_path: Path) -> None:
    def session() -> Session:
        return tiny.session(schedule=Plateau(warmup_epochs=0.0, patience=1, gamma=0.5), max_epochs=4)

    values = iter([1.0, 2.0, 3.0, 0.5])
    first = session()

    def save(metrics: Mapping[str, float], kept: bool) -> None:
        if first.position.epoch == 3:
            save_checkpoint(tmp_path / "last", first.state())

    train(first, lambda: {"loss": next(values)}, epoch=save)
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
    optimizer, take = session.optimizer, session.optimizer.step

    def look() -> None:
        gradients = [p.grad.flatten() for g in optimizer.param_groups for p in g["params"]]
        norms.append(float(torch.cat(gradients).norm()))
        take()

    optimizer.step = look
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
    train(session, lambda: {name: next(script)}, epoch=lambda _, kept: improvements.append(kept))
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


def test_of_several_processes_each_decides_by_the_number_of_the_main_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Or one stops, or cuts its rate, and the others wait for it for ever."""
    main, own = [3.0, 2.0, 2.0, 2.0], [3.0, 2.0, 1.9999999, 1.9999998, 1.0]

    def session_of(values: list[float]) -> tuple[Session, list[bool]]:
        schedule = Plateau(warmup_epochs=0.0, patience=1, gamma=0.5)
        return scripted(values, patience=2, max_epochs=5, keep_best=2, schedule=schedule)

    (first, kept), script = session_of(main), iter(main)
    asked: list[float | None] = []
    monkeypatch.setattr(processes, "of_main", lambda value: asked.append(value) or next(script))
    second, kept_too = session_of(own)
    assert asked == own[:4], "it stops with the main one"
    assert kept_too == kept == [True, True, True, False]
    assert second.position.ranked == first.position.ranked
    assert second.schedule.state() == first.schedule.state() == {"cuts": 2, "bad_epochs": 0}


@pytest.mark.parametrize("of_main", [None, math.nan])
def test_what_the_main_process_has_not_measured_ends_all(
    of_main: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "of_main", lambda _: of_main)
    with pytest.raises(UserError if of_main is None else Fault):
        train(tiny.session(), lambda: {"loss": 1.0})


@pytest.mark.parametrize("metrics", [{}, {"micro_f1": 0.5}])
def test_a_monitored_metric_that_is_not_there_is_the_users_to_change(metrics: dict[str, float]) -> None:
    with pytest.raises(UserError, match=r"^trainer\.monitor=loss is not defined"):
        train(tiny.session(), lambda: metrics)


def test_a_monitored_metric_that_becomes_nan_is_a_fault() -> None:
    with pytest.raises(Fault, match=r"^the validation metric loss became NaN"):
        train(tiny.session(), lambda: {"loss": math.nan})


def test_reports_tell_of_all_rows_since_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs, targets, reports = [], [], []
    session = tiny.session(max_epochs=1, log_every_steps=2)
    session.network.head.register_forward_hook(lambda _, __, output: outputs.append(output))
    part = session.part
    monkeypatch.setattr(
        session, "part", lambda batch, share: (targets.append(batch.y_BL), part(batch, share=share))[1]
    )
    train(session, lambda: {"loss": 1.0}, report=reports.append)
    losses = [tiny.loss()(output, y_BL) for output, y_BL in zip(outputs, targets, strict=True)]
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
    train(session, report=reports.append)
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


@pytest.mark.parametrize(("max_steps", "epochs"), [(3, 1), (5, 1), (7, 2), (10, 2), (99, 4)])
def test_max_steps_ends_in_the_middle_of_an_epoch_and_measures(max_steps: int, epochs: int) -> None:
    session, validated, steps = tiny.session(max_steps=max_steps, max_epochs=4), [], []
    tiny.train(
        session,
        validate=lambda: {"loss": float(validated.append(session.position.step) is None)},
        after_step=lambda: steps.append(session.position.step),
    )
    last = min(max_steps, 4 * 5)
    assert steps == list(range(1, last + 1))
    assert session.position.epoch == len(validated) == epochs
    assert validated[-1] == last
    assert nothing_left(session.position, session.settings)


def test_max_steps_take_the_first_steps_of_the_same_epochs() -> None:
    def steps(**changes: Any) -> list[Any]:
        session, seen = tiny.session(seed=3, **changes), []
        tiny.train(session, after_step=lambda: seen.append(bits(session.network.state_dict())))
        return seen

    assert steps(max_steps=7, max_epochs=2) == steps(max_epochs=2)[:7]


def test_a_stop_after_any_callback_leaves_a_position_that_goes_on() -> None:
    """What stops in the validation has trained the epoch, and only validates again."""

    def stop() -> dict[str, float]:
        raise KeyboardInterrupt

    session, steps = tiny.session(max_epochs=1), []
    with pytest.raises(KeyboardInterrupt):
        tiny.train(session, validate=stop)
    assert (session.position.epoch, session.position.batch, session.position.step) == (0, 5, 5)
    tiny.train(session, after_step=lambda: steps.append(1))
    assert not steps
    assert (session.position.epoch, session.position.batch, session.position.step) == (1, 0, 5)


@pytest.mark.parametrize(
    ("keep", "kept", "ranked"),
    [
        (1, [True, False, True, False, False], [(3, 0.3)]),
        (2, [True, True, True, False, True], [(3, 0.3), (5, 0.4)]),
        (9, [True] * 5, [(3, 0.3), (5, 0.4), (1, 0.5), (4, 0.5), (2, 0.7)]),
    ],
)
def test_the_best_networks_are_ranked_of_equals_the_first(
    keep: int, kept: list[bool], ranked: list[tuple[int, float]]
) -> None:
    session, found = scripted([0.5, 0.7, 0.3, 0.5, 0.4], max_epochs=5, keep_best=keep)
    assert found == kept
    assert session.position.ranked == ranked
