import shutil
import sys
from pathlib import Path

import pytest

import mlc.train
from tests.integration.doors import Doors
from tests.integration.tiny_mulan import mulan, write_mulan


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test works in its own folder, and leaves the process as it found it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLC_DATA", raising=False)
    # Composing changes these two: what is set here is put back.
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setattr(sys, "argv", ["mlc.train"])
    # Hydra composes everything twice, first to see whether a preset says that it is a sweep: none here does.
    monkeypatch.setattr("hydra._internal.hydra.Hydra.get_mode", lambda *_, **__: None)


@pytest.fixture
def doors(capsys: pytest.CaptureFixture[str]) -> Doors:
    return Doors(capsys)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The written data set, under MLC_DATA."""
    folder = write_mulan(tmp_path / "data")
    monkeypatch.setenv("MLC_DATA", str(folder.parent))
    return folder


@pytest.fixture
def tiny_single_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same with exactly one label for each row."""
    folder = write_mulan(tmp_path / "data", single_label=True)
    monkeypatch.setenv("MLC_DATA", str(folder.parent))
    return folder


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of the time of a tiny run; for tests that look at something else."""
    monkeypatch.setattr("mlc.training.finish.draw_evaluation", lambda *_, **__: {})


@pytest.fixture(scope="session")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run; made once, and only ever copied."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLC_DATA", str(write_mulan(folder / "data").parent))
        patch.setenv("HYDRA_FULL_ERROR", "1")
        patch.setattr(sys, "argv", ["mlc.train"])
        mlc.train.train(mulan("run"))
    return folder / "run"


@pytest.fixture
def run(tiny: Path, no_figures: None, _trained: Path) -> Path:
    """A finished run on the written data set, free to be damaged."""
    shutil.copytree(_trained, "run")
    return Path("run")
