"""The trainer on a CUDA device; skipped where there is none."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from mlc.training import feeding
from mlc.training.checkpoint import load_checkpoint
from mlc.training.session import Session
from tests.integration.doors import Doors, results
from tests.integration.test_resume import SAVE, Killed, kill_at
from tests.integration.tiny_mulan import mulan
from tests.unit.training import tiny as problem

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="There is no CUDA device here."),
]
CUDA = ("trainer.device=cuda", "trainer.max_epochs=3", "trainer.patience=null", "backbone.dropout=0.0")


def network_of(folder: Path) -> dict[str, torch.Tensor]:
    """The weights that a run leaves."""
    state: dict[str, torch.Tensor] = load_checkpoint(folder / "classifier.safetensors")["parts"]["network"]
    return state


@pytest.mark.parametrize("head", ["sigmoid", "softmax", "factorised", "classifier_chain", "label_sets"])
def test_a_run_gives_the_numbers_of_the_processor(
    doors: Doors, tiny: Path, no_figures: None, head: str
) -> None:
    words = (*CUDA, f"head={head}")
    assert doors.train(*mulan("cuda", *words)).code == 0
    assert doors.train(*mulan("cpu", *words, "trainer.device=cpu")).code == 0
    found, expected = (results(Path(name))["splits"]["test"] for name in ("cuda", "cpu"))
    for name in ("loss", "micro_f1", "macro_f1", "map"):
        if expected[name] is not None:
            assert found[name] == pytest.approx(expected[name], rel=1e-3, abs=1e-3), name


@pytest.mark.parametrize(
    "words", [["trainer.precision=bf16"], ["trainer.precision=fp16"], ["trainer.precision=auto"]]
)
def test_other_formats_train(doors: Doors, tiny: Path, no_figures: None, words: list[str]) -> None:
    assert doors.train(*mulan("run", *CUDA, *words)).code == 0
    assert math.isfinite(results(Path("run"))["splits"]["test"]["loss"])
    assert results(Path("run"))["run"]["precision"] in ("bf16", "fp16")


@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_compiled_networks_train_to_the_same(doors: Doors, tiny: Path, no_figures: None, mode: str) -> None:
    assert doors.train(*mulan("eager", *CUDA)).code == 0
    assert doors.train(*mulan("compiled", *CUDA, f"trainer.compile={mode}")).code == 0
    for name, tensor in network_of(Path("eager")).items():
        torch.testing.assert_close(network_of(Path("compiled"))[name], tensor, rtol=1e-3, atol=1e-4)


def test_a_killed_run_ends_like_an_undisturbed_one(
    doors: Doors,
    tiny: Path,
    no_figures: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = (*CUDA, "trainer.deterministic=true", "trainer.checkpoint_every_steps=1", "backbone.dropout=0.3")
    assert doors.train(*mulan("undisturbed", *words)).code == 0
    revive = kill_at(monkeypatch, SAVE, call=5)
    with pytest.raises(Killed):
        doors.train(*mulan("run", *words))
    revive()
    assert doors.train("resume=run").code == 0
    for name, tensor in network_of(Path("undisturbed")).items():
        assert torch.equal(network_of(Path("run"))[name], tensor), name


def test_data_that_stay_on_the_host_train_to_the_same(
    doors: Doors,
    tiny: Path,
    no_figures: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = (*CUDA, "trainer.deterministic=true")
    assert doors.train(*mulan("there", *words)).code == 0
    monkeypatch.setattr(feeding, "_SHARE", 0.0)
    outcome = doors.train(*mulan("fed", *words))
    assert outcome.code == 0
    assert "they stay on the host" in outcome.out
    for name, tensor in network_of(Path("there")).items():
        assert torch.equal(network_of(Path("fed"))[name], tensor), name


def cuda_session(**changes: Any) -> Session:
    """The tiny session on the device."""
    made = problem.session(optimizer_name="adam", **changes)
    network, loss = made.network.to("cuda"), problem.loss().to("cuda")
    return Session(
        network=network,
        loss=loss,
        optimizer=problem.optimizer(network, "adam"),
        schedule=made.schedule,
        settings=made.settings,
        seed=0,
        device="cuda",
    )


def test_steps_do_not_wait_for_the_device() -> None:
    session = cuda_session(max_epochs=1, log_every_steps=10_000)
    steps: list[int] = []

    def after_step() -> None:
        steps.append(session.position.step)
        torch.cuda.set_sync_debug_mode("error" if len(steps) == 1 else torch.cuda.get_sync_debug_mode())
        if len(steps) == 4:  # the last step is reported, and may wait
            torch.cuda.set_sync_debug_mode("default")

    try:
        problem.train(session, problem.split(31).to("cuda"), after_step=after_step)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(steps) == 5


def test_a_step_that_is_not_finite_changes_nothing() -> None:
    session, bad = cuda_session(max_epochs=1, batch_size=31), []
    rows = problem.split(31).to("cuda")
    x_ND = rows.inputs["x"]
    assert isinstance(x_ND, torch.Tensor)
    x_ND[3, 0] = math.nan
    before = {name: tensor.clone() for name, tensor in session.network.state_dict().items()}
    problem.train(session, rows, bad_step=bad.append)
    assert len(bad) == 1
    for name, tensor in session.network.state_dict().items():
        assert torch.equal(tensor, before[name]), name
