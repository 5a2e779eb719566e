"""Switches of PyTorch are set for one run, and put back."""

import os
from collections.abc import Iterator

import pytest
import torch

from mlc.training.numerics import measuring, numerics
from tests.unit.training import tiny


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    yield
    torch.use_deterministic_algorithms(False)


def switches() -> tuple[bool, bool, bool]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_anomaly_enabled(),
        torch.backends.cudnn.benchmark,
    )


def test_by_default_nothing_is_changed() -> None:
    before = switches()
    with numerics(tiny.settings()):
        assert switches() == before


@pytest.mark.parametrize("benchmark", [False, True])
def test_deterministic_is_for_the_block(benchmark: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", benchmark)
    with numerics(tiny.settings(deterministic=True)):
        assert switches() == (True, False, False)
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        # What has no deterministic way is refused.
        with pytest.raises(RuntimeError, match="deterministic"):
            torch.nn.functional.max_unpool1d(torch.ones(1, 1, 2), torch.tensor([[[0, 2]]]), 2)
    assert switches() == (False, False, benchmark)


def test_switches_that_were_on_stay_on() -> None:
    torch.use_deterministic_algorithms(True)
    with torch.autograd.set_detect_anomaly(True), numerics(tiny.settings()):
        assert switches()[:2] == (True, True)
    assert torch.are_deterministic_algorithms_enabled()


def test_an_error_puts_them_back_too() -> None:
    with pytest.raises(ZeroDivisionError), numerics(tiny.settings(deterministic=True, detect_anomaly=True)):
        raise ZeroDivisionError
    assert switches()[:2] == (False, False)


def test_detect_anomaly_names_the_operation() -> None:
    x = torch.zeros(1, requires_grad=True)
    with numerics(tiny.settings(detect_anomaly=True)):
        value = (x.sqrt() * 0).sum()
        with (
            pytest.warns(UserWarning, match="SqrtBackward"),
            pytest.raises(RuntimeError, match="SqrtBackward"),
        ):
            value.backward()
    (x.sqrt() * 0).sum().backward()


def test_what_is_measured_may_use_what_has_no_deterministic_way() -> None:
    with numerics(tiny.settings(deterministic=True)):
        with measuring():  # without a warning, too: here warnings are errors
            torch.nn.functional.max_unpool1d(torch.ones(1, 1, 2), torch.tensor([[[0, 2]]]), 2)
        with pytest.raises(RuntimeError, match="deterministic"):
            torch.nn.functional.max_unpool1d(torch.ones(1, 1, 2), torch.tensor([[[0, 2]]]), 2)
    with measuring():
        assert not torch.are_deterministic_algorithms_enabled()
