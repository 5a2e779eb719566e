"""What is said of torch.compile; that it compiles is tested in tests/integration/test_debug.py."""

import contextlib
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from mlc.training import compile_report, processes
from mlc.training.compile_report import Times, compile_sentence, describe
from tests.unit.training import tiny


class Torch:
    """Stands for torch's compiler, whose import takes seconds."""

    def __init__(self) -> None:
        self.modes: list[str] = []
        self.eager = 0

    @contextlib.contextmanager
    def stance(self, name: str) -> Iterator[None]:
        assert name == "force_eager"
        self.eager += 1
        yield


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Torch:
    fake = Torch()
    monkeypatch.setattr(nn.Module, "compile", lambda _, mode: fake.modes.append(mode))
    monkeypatch.setattr(torch.compiler, "set_stance", fake.stance)
    monkeypatch.setattr(compile_report, "_seconds_of_compiling", lambda: 2.5)
    return fake


def test_what_it_has_saved_and_what_it_has_cost() -> None:
    paid = describe("default", 10.0, Times(compiled=0.002, eager=0.005), steps=4000)
    assert paid == (
        "trainer.compile=default: compiling took 10.0 s; forward and backward of a batch take 2 ms, and 5 ms "
        "without it; in 4000 steps it has saved 2.0 s"
    )
    lost = describe("default", 10.0, Times(compiled=0.002, eager=0.005), steps=3000)
    assert lost.endswith(
        "it has cost 1.0 s more than it saved: trainer.compile=null is faster for such a run"
    )


@pytest.mark.parametrize("mode", ["default", "reduce-overhead", "max-autotune"])
def test_backbone_and_head_are_compiled_in_the_mode(fake: Torch, mode: str) -> None:
    tiny.session(compile=mode)
    assert fake.modes == [mode, mode]
    fake.modes.clear()
    tiny.session()
    assert fake.modes == []


def test_measuring_changes_nothing_that_training_needs(fake: Torch) -> None:
    session = tiny.session(compile="default", micro_batch_size=4)
    session.network.eval()
    state = {name: value.clone() for name, value in session.network.state_dict().items()}
    random = torch.get_rng_state()
    said = compile_sentence(session, tiny.split(), steps=10)
    assert said.startswith("trainer.compile=default: compiling took 2.5 s; forward and backward of a batch")
    assert "in 20 steps" in said  # each of two parts
    assert fake.eager == 11, "once to get warm"
    assert torch.equal(torch.get_rng_state(), random)
    assert not session.network.training
    assert all(parameter.grad is None for parameter in session.network.parameters())
    for name, value in session.network.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_of_several_processes_only_the_cost_is_said(fake: Torch, monkeypatch: pytest.MonkeyPatch) -> None:
    session = tiny.session(compile="default")
    monkeypatch.setattr(processes, "size", lambda: 2)
    said = compile_sentence(session, tiny.split(), steps=10)
    assert said == "trainer.compile=default: compiling took 2.5 s"
    assert fake.eager == 0
