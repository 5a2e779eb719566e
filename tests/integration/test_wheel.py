"""What is installed works without the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.contract.grid import CONFIGS
from tests.integration.doors import CHECKOUT, results


def python(*words: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run this Python; -P: not even the working folder is looked at for modules."""
    command = [sys.executable, "-P", *words]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, **options)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    offline = ("--retries=0", "--timeout=5", "--disable-pip-version-check")
    built = python("-m", "pip", *offline, "wheel", "--no-deps", "--wheel-dir", str(folder), str(CHECKOUT))
    if built.returncode and ("hatchling" in built.stderr or "No module named pip" in built.stderr):
        pytest.skip("Building a wheel needs pip, and hatchling from a package index that can be reached.")
    assert built.returncode == 0, built.stderr
    (file,) = folder.glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


def test_it_has_all_modules_and_configs_and_nothing_else(wheel: Path) -> None:
    configs = {path.relative_to(CONFIGS) for path in CONFIGS.rglob("*.yaml")}
    assert Path("train.yaml") in configs
    inside = wheel / "mlc" / "configs"
    assert {path.relative_to(inside) for path in inside.rglob("*.yaml")} == configs
    modules = {path.relative_to(CHECKOUT) for path in (CHECKOUT / "mlc").rglob("*.py")}
    assert {path.relative_to(wheel) for path in wheel.rglob("*.py")} == modules
    assert {path.name.partition("-")[0] for path in wheel.iterdir()} == {"mlc"}
    sample = Path("mlc", "data", "samples", "job_ads.tsv")
    assert (wheel / sample).read_bytes() == (CHECKOUT / sample).read_bytes()


def test_it_trains_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(wheel)}
    words = ["trainer.max_epochs=0", "dataset.n_train=200", "dataset.n_test=50", "hydra.run.dir=run"]
    done = python("-v", "-m", "mlc.train", *words, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    # -v told where each module came from.
    assert str(wheel / "mlc" / "model.py") in done.stderr
    assert str(CHECKOUT / "mlc") not in done.stderr
    assert results(tmp_path / "run")["run"]["epochs"] == 0
