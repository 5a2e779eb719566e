"""debug=...: does it learn, does everything fit, where does the time go; and the trainer's switches."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mlc.training.precision import Choice
from tests.integration.doors import Doors, config, results
from tests.integration.tiny_mulan import mulan


def tags(folder: Path, kind: str) -> list[str]:
    found: list[str] = EventAccumulator(str(folder)).Reload().Tags()[kind]
    return found


def test_overfit_batch_learns_one_batch_by_heart(doors: Doors, tiny: Path, no_figures: None) -> None:
    words = [word for word in mulan("run") if not word.startswith("trainer.max_epochs")]
    outcome = doors.train(*words, "debug=overfit_batch", *("optimizer.lr=0.05", "backbone.dropout=0"))
    assert (outcome.code, outcome.err) == (0, "")
    found = results(Path("run"))
    assert found["run"]["rows"] == {"train": 16, "valid": 16, "test": 16}
    assert (found["run"]["epochs"], found["run"]["steps"]) == (100, 100)
    assert found["splits"]["test"]["subset_accuracy"] == 1
    assert found["splits"]["test"]["loss"] == found["splits"]["valid"]["loss"] < 0.1
    assert any("the same 16 rows" in note for note in found["run"]["notes"])


def test_two_steps_go_all_the_way(doors: Doors, tiny: Path, no_figures: None) -> None:
    words = [word for word in mulan("run") if not word.startswith("trainer.max_epochs")]
    outcome = doors.train(*words, "debug=two_steps")
    assert (outcome.code, outcome.err) == (0, "")
    assert (results(Path("run"))["run"]["steps"], results(Path("run"))["run"]["epochs"]) == (2, 1)
    assert Path("run/classifier.safetensors").exists()
    assert "is finished" in doors.train("resume=run").out


def test_profile_leaves_a_trace_and_a_table(doors: Doors, tiny: Path, no_figures: None) -> None:
    words = [word for word in mulan("run") if not word.startswith("trainer.max_epochs")]
    outcome = doors.train(*words, "debug=profile", "trainer.batch_size=4", "trainer.profile_steps=3")
    assert (outcome.code, outcome.err) == (0, "")
    (trace,) = Path("run/profile").glob("*.pt.trace.json")
    events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    assert any("aten::addmm" in str(event.get("name")) for event in events)
    assert sum(str(event.get("name")).startswith("ProfilerStep#") for event in events) >= 3
    assert "run/profile/text_summary" in tags(Path("run"), "tensors")


@pytest.mark.parametrize("chosen", ["bf16", "fp32"])
def test_the_resolved_config_says_what_auto_chose(
    doors: Doors, tiny: Path, no_figures: None, monkeypatch: pytest.MonkeyPatch, chosen: str
) -> None:
    why = "that is what the test says"
    choose = "mlc.experiment.assemble.choose_precision"
    monkeypatch.setattr(choose, lambda **_: Choice(chosen, why))  # type: ignore[arg-type]
    words = mulan("run", "trainer.precision=auto", "trainer.max_epochs=1")
    assert doors.train(*words).code == 0
    assert config(Path("run"))["trainer"]["precision"] == chosen
    found = results(Path("run"))["run"]
    assert found["precision"] == chosen
    assert f"trainer.precision=auto is {chosen}: {why}." in found["notes"]
    # A resumed run does not choose again.
    monkeypatch.setattr(choose, lambda **_: pytest.fail("chose again"))
    assert doors.train("resume=run", "trainer.max_epochs=2").code == 0


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("backbone.norm=batch", "trainer.batch_size=1"), "trainer.batch_size=1"),
        (("loss=soft_f1", "trainer.micro_batch_size=4"), "SoftF1"),
        (("trainer.compile=default", "trainer.detect_anomaly=true"), "trainer.compile"),
        (("trainer.ema_decay=1.0",), "ema_decay"),
    ],
)
def test_what_cannot_work_is_refused_at_the_start(
    doors: Doors, tiny: Path, words: tuple[str, ...], named: str
) -> None:
    outcome = doors.train(*mulan("run", *words))
    assert outcome.code == 2
    assert named in outcome.err
    assert outcome.err.count("\n") == 1
    assert not Path("run/config.yaml").exists()


def test_all_switches_together(doors: Doors, tiny: Path, no_figures: None) -> None:
    switches = ("precision=fp16", "micro_batch_size=5", "clip_norm=1.0", "clip_value=0.5", "ema_decay=0.9")
    more = ("weight_decay_on=all", "deterministic=true", "sampling=class_aware", "keep_best=2", "keep_last=1")
    outcome = doors.train(*mulan("run", *(f"trainer.{word}" for word in (*switches, *more))))
    assert (outcome.code, outcome.err) == (0, "")
    assert results(Path("run"))["run"]["precision"] == "fp16"
    assert len(list(Path("run/checkpoints").glob("step_*"))) == 1
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.filterwarnings("ignore")  # of torch, in its own compiler
@pytest.mark.skipif("MLC_SLOW" not in os.environ, reason="compiles for a minute: set MLC_SLOW=1")
@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="no C++ compiler")
def test_compiled_it_trains_the_same(doors: Doors, tiny: Path, no_figures: None) -> None:
    losses = {}
    for folder, word in (("plain", "trainer.compile=null"), ("compiled", "trainer.compile=default")):
        outcome = doors.train(*mulan(folder, word, "backbone.dropout=0", "backbone.input_dropout=0"))
        assert (outcome.code, outcome.err) == (0, "")
        losses[folder] = results(Path(folder))["splits"]["test"]["loss"]
    assert losses["compiled"] == pytest.approx(losses["plain"], rel=1e-4)
