import json
import math
from collections.abc import Callable

import pytest
import torch
from torch.optim import lr_scheduler

from mlc.training.schedules import Constant, Cosine, Plateau, Schedule, Step

EPOCHS = 24
MAKERS: dict[str, Callable[[float], Schedule]] = {
    "constant": lambda warm: Constant(warmup_epochs=warm),
    "cosine": lambda warm: Cosine(warmup_epochs=warm, final_factor=0.1),
    "step": lambda warm: Step(warmup_epochs=warm, every_epochs=5, gamma=0.3),
    "plateau": lambda warm: Plateau(warmup_epochs=warm, patience=2, gamma=0.5),
}
EVERY = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def torch_factors(
    make: Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler], epochs: int
) -> list[float]:
    """The factors of one of torch's schedulers, at whole epochs."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    factors = []
    for _ in range(epochs):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return factors


def factors(schedule: Schedule, epochs: int = EPOCHS) -> list[float]:
    return [schedule.factor(epoch, EPOCHS) for epoch in range(epochs)]


@pytest.mark.parametrize("final", [0.0, 0.1, 1.0])
def test_cosine_equals_torch(final: float) -> None:
    expected = torch_factors(
        lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=EPOCHS, eta_min=final), EPOCHS + 1
    )
    schedule = Cosine(warmup_epochs=0.0, final_factor=final)
    assert factors(schedule, EPOCHS + 1) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("every", "gamma"), [(1, 0.9), (5, 0.3), (EPOCHS, 0.5), (1000, 0.5)])
def test_step_equals_torch(every: int, gamma: float) -> None:
    expected = torch_factors(lambda o: lr_scheduler.StepLR(o, every, gamma), 2 * EPOCHS)
    schedule = Step(warmup_epochs=0.0, every_epochs=every, gamma=gamma)
    assert factors(schedule, 2 * EPOCHS) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("patience", [1, 2, 4])
def test_plateau_equals_torch(patience: int) -> None:
    # torch cuts after more than its patience of bad epochs, this one after as many.
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=patience - 1, threshold=0.0, eps=0.0
    )
    ours, best = Plateau(warmup_epochs=0.0, patience=patience, gamma=0.5), math.inf
    generator = torch.Generator().manual_seed(patience)
    for epoch in range(60):
        value = 1 / (epoch + 1) + float(torch.rand((), generator=generator))
        ours.observe(value < best)
        best = min(best, value)
        theirs.step(value)
        assert ours.factor(epoch + 1, 60) == optimizer.param_groups[0]["lr"]
    assert ours.factor(60, 60) < 0.5, "it never cut twice"


@EVERY
def test_hand_values_of_warm_up(make: Callable[[float], Schedule]) -> None:
    warm = make(4.0)
    assert warm.factor(0, EPOCHS) == 0
    assert warm.factor(1, EPOCHS) == pytest.approx(0.25)
    assert warm.factor(2.5, EPOCHS) == pytest.approx(0.625)
    assert warm.factor(4, EPOCHS) == pytest.approx(1.0)


@EVERY
def test_without_warm_up_it_starts_at_one(make: Callable[[float], Schedule]) -> None:
    assert make(0.0).factor(0, EPOCHS) == 1


@EVERY
@pytest.mark.parametrize("warm", [0.0, 0.5, 3.0, 100.0])
def test_a_factor_is_between_0_and_1(make: Callable[[float], Schedule], warm: float) -> None:
    found = [make(warm).factor(i / 7, EPOCHS) for i in range(7 * EPOCHS + 1)]
    assert all(0 <= factor <= 1 for factor in found)


def test_hand_values_of_cosine() -> None:
    schedule = Cosine(warmup_epochs=2.0, final_factor=0.2)
    # Half-way between the end of the warm-up and the end: half-way between 1 and 0.2.
    assert schedule.factor(2, 12) == pytest.approx(1.0)
    assert schedule.factor(7, 12) == pytest.approx(0.6)
    assert schedule.factor(12, 12) == pytest.approx(0.2)
    assert schedule.factor(13, 12) == pytest.approx(0.2), "nothing rises again after the end"
    quarter = 0.2 + 0.8 * (1 + math.sqrt(0.5)) / 2
    assert schedule.factor(4.5, 12) == pytest.approx(quarter)


def test_hand_values_of_step_within_an_epoch() -> None:
    schedule = Step(warmup_epochs=0.0, every_epochs=2, gamma=0.1)
    assert [schedule.factor(e, 9) for e in (0, 1.99, 2, 3.5, 4)] == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def test_constant_stays() -> None:
    assert factors(Constant(warmup_epochs=0.0)) == [1.0] * EPOCHS


@EVERY
def test_a_factor_has_no_memory_of_those_before(make: Callable[[float], Schedule]) -> None:
    used, fresh = make(3.0), make(3.0)
    factors(used)
    assert used.factor(7.25, EPOCHS) == fresh.factor(7.25, EPOCHS)


@EVERY
def test_state_survives_json(make: Callable[[float], Schedule]) -> None:
    seen, other = make(1.0), make(1.0)
    for improved in (True, False, False, False):
        seen.observe(improved)
    other.restore(json.loads(json.dumps(seen.state())))
    assert other.state() == seen.state()
    for improved in (False, True, False, False, False, False):
        seen.observe(improved)
        other.observe(improved)
        assert other.factor(9, EPOCHS) == seen.factor(9, EPOCHS)


def test_plateau_forgets_bad_epochs_after_a_cut_and_after_a_good_one() -> None:
    schedule = Plateau(warmup_epochs=0.0, patience=2, gamma=0.5)
    found = []
    for improved in (False, True, False, False, False, True, False, False):
        schedule.observe(improved)
        found.append(schedule.factor(1, EPOCHS))
    assert found == [1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25]
