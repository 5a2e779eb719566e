"""One run in its folder, as far as it is not about numbers; tests/integration has whole ones."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from mlc.errors import Stopped, UserError
from mlc.training import finish, processes
from mlc.training import run as module
from mlc.training.checkpoint import save_checkpoint
from mlc.training.checkpoints import Checkpoints
from mlc.training.run import run
from mlc.training.run_files import RunFiles
from tests.unit.training import tiny_job


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take time."""
    monkeypatch.setattr(finish, "draw_evaluation", lambda *_, **__: {})


def test_what_an_earlier_run_has_left_in_the_folder_is_set_aside(tmp_path: Path) -> None:
    checkpoints = Checkpoints(RunFiles(tmp_path).checkpoints)
    first = {"step_000000009999.safetensors": b"a later step", "epoch_000007.safetensors": b"another network"}
    checkpoints.folder.mkdir()
    for name, content in first.items():
        (checkpoints.folder / name).write_bytes(content)
    run(tiny_job.job(tmp_path), found=None)
    for name, content in first.items():
        assert not (checkpoints.folder / name).exists()
        assert (checkpoints.folder / f"{name}.old").read_bytes() == content
    found = tiny_job.found(tmp_path)
    assert found.state is not None
    assert (found.state["position"]["epoch"], found.notes) == (1, ())


def test_a_resumed_runs_config_has_its_new_limits(tmp_path: Path) -> None:
    run(tiny_job.job(tmp_path), found=None)
    assert yaml.safe_load(RunFiles(tmp_path).config.read_text())["trainer"]["max_epochs"] == 1
    run(tiny_job.job(tmp_path, max_epochs=2), found=tiny_job.found(tmp_path))
    assert yaml.safe_load(RunFiles(tmp_path).config.read_text())["trainer"]["max_epochs"] == 2
    assert tiny_job.results(tmp_path)["run"]["epochs"] == 2


@pytest.mark.parametrize("ema_decay", [None, 0.5])
def test_validation_reads_the_main_processs_batch_statistics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ema_decay: float | None
) -> None:
    """They are each process's own in training; here the main one's are sevens."""
    seen: list[list[float]] = []

    def share(tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            tensor.fill_(7)

    def predict(network: torch.nn.Module, *given: Any) -> Any:
        seen.append([float(value) for buffer in network.buffers() for value in buffer.flatten().unique()])
        return predict_split(network, *given)

    predict_split = module.predict_split
    monkeypatch.setattr(processes, "share", share)
    monkeypatch.setattr(module, "predict_split", predict)
    run(tiny_job.job(tmp_path, ema_decay=ema_decay), found=None)
    assert len(seen) == 1
    assert seen[0]
    assert set(seen[0]) == {7.0}


@pytest.mark.parametrize("content", [{}, {"network": []}, {"network": {}}, {"network": {"w": torch.ones(1)}}])
def test_a_best_network_of_something_else_is_refused_in_a_sentence(
    tmp_path: Path, content: dict[str, Any]
) -> None:
    run(tiny_job.job(tmp_path), found=None)
    state = tiny_job.found(tmp_path).state
    assert state is not None
    best = Checkpoints(RunFiles(tmp_path).checkpoints).network(state["position"]["best_epoch"])
    save_checkpoint(best, content)
    with pytest.raises(UserError, match=rf"^{best} does not hold the network of this run") as refused:
        run(tiny_job.job(tmp_path), found=tiny_job.found(tmp_path))
    assert "\n" not in str(refused.value)


class _Killed(BaseException):
    pass


@pytest.mark.parametrize("killed_after", [1, 3, 4])
def test_a_kill_while_checkpoints_wait_repeats_their_epochs_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_after: int
) -> None:
    settings = {"max_epochs": 4, "ema_decay": 0.9, "keep_best": 2, "checkpoint_every_steps": 4}
    run(tiny_job.job(tmp_path / "undisturbed", **settings), found=None)
    settings["checkpoint_pause_s"] = 600.0
    after_epoch, epochs = module._Run._epoch, []

    def killed(self: Any, metrics: Any, kept: bool) -> None:
        after_epoch(self, metrics, kept)
        epochs.append(metrics)
        if len(epochs) == killed_after:
            raise _Killed

    monkeypatch.setattr(module._Run, "_epoch", killed)
    with pytest.raises(_Killed):
        run(tiny_job.job(tmp_path / "killed", **settings), found=None)
    monkeypatch.setattr(module._Run, "_epoch", after_epoch)
    run(tiny_job.job(tmp_path / "killed", **settings), found=tiny_job.found(tmp_path / "killed"))
    wanted, found = (tiny_job.best_network(tmp_path / folder) for folder in ("undisturbed", "killed"))
    assert wanted.keys() == found.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    wanted, found = (tiny_job.results(tmp_path / folder)["splits"] for folder in ("undisturbed", "killed"))
    assert found == wanted


def test_a_signal_in_the_validation_of_several_processes_keeps_the_epochs_that_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They go on to the end of the epoch, and only then stop together."""
    after_epoch, epochs = module._Run._epoch, []

    def heard(self: Any, metrics: Any, kept: bool) -> None:
        epochs.append(metrics)
        if len(epochs) == 3:
            self._interruption._asked = "SIGTERM"
        after_epoch(self, metrics, kept)

    monkeypatch.setattr(module._Run, "_epoch", heard)
    with pytest.raises(Stopped):
        run(tiny_job.job(tmp_path, max_epochs=10, checkpoint_pause_s=600.0), found=None)
    state = tiny_job.found(tmp_path).state
    assert state is not None
    assert (state["position"]["epoch"], state["position"]["batch"]) == (3, 0)
