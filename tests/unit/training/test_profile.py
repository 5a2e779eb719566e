"""The profiler's record of a few steps."""

import json
import os
from pathlib import Path

import pytest
import torch

from mlc.training.profile import profiled
from tests.unit.training import tiny


def test_it_writes_a_trace_and_a_table_of_the_steps_after_the_first_two(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KINETO_LOG_LEVEL", raising=False)
    tables: list[str] = []
    with profiled(
        tiny.settings(profile_steps=2), folder=tmp_path / "profile", tell=tables.append
    ) as after_step:
        for step in range(6):
            with torch.profiler.record_function(f"number {step}"):
                torch.ones(8, 8) @ torch.ones(8, 8)
            after_step()
    # What is written in C++ says nothing on the terminal.
    assert capfd.readouterr() == ("", "")
    assert "KINETO_LOG_LEVEL" not in os.environ
    (trace,) = (tmp_path / "profile").glob("*.pt.trace.json")
    events = {event["name"] for event in json.loads(trace.read_text())["traceEvents"] if "name" in event}
    assert {name for name in events if name.startswith("number ")} == {"number 2", "number 3"}
    (table,) = tables
    assert "aten::mm" in table
    assert "number 2" in table
    assert "number 5" not in table


def test_without_steps_nothing_is_recorded(tmp_path: Path) -> None:
    with profiled(tiny.settings(), folder=tmp_path / "profile", tell=lambda _: None) as after_step:
        assert not torch.autograd._profiler_enabled()
        after_step()
    assert not list(tmp_path.iterdir())
