"""Training does today what it did when the curves were stored.

A difference is no proof of a mistake: another release of PyTorch may draw other random numbers or round
otherwise. The same release on another CPU differs by rounding, which 20 steps do not grow beyond the
tolerance.
"""

import json
import sys
from pathlib import Path

import pytest

from tests.contract.grid import CONFIGS
from tests.golden.curves import HEADS, STEPS, STORED, curve

TOLERANCE = 1e-4  # relative


def test_no_head_is_forgotten() -> None:
    assert sorted(HEADS) == sorted(path.stem for path in (CONFIGS / "head").glob("*.yaml"))


@pytest.mark.parametrize("head", HEADS)
def test_first_steps(head: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setattr(sys, "argv", ["mlc.train"])
    monkeypatch.setattr("mlc.training.run.finish", lambda *_: None)  # only the steps matter here
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    found = curve(head, tmp_path / "run")
    assert len(found) == STEPS
    assert found == pytest.approx(stored["curves"][head], rel=TOLERANCE), (
        f"stored with torch {stored['torch']}; if training was meant to change: python -m tests.golden.curves"
    )
