"""Two processes by torchrun, talking by gloo, train like one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlc.training.checkpoint import load_checkpoint
from tests.integration.doors import Doors, results
from tests.integration.tiny_mulan import mulan

# Batches of 7 and 5 rows a part: uneven parts, and a last batch of which a process has fewer rows.
WORDS = (
    *("trainer.max_epochs=3", "trainer.batch_size=7", "trainer.eval_batch_size=9", "backbone.dropout=0.0"),
    *("trainer.patience=null", "schedule=constant"),
)
# The second process dies within the second epoch, the first time that it is started.
DIES_ONCE = """
import os, signal, sys
from mlc.train import main
from mlc.training.session import Session

set_rate, calls = Session.set_rate, []

def dying(self, epochs_done):
    calls.append(epochs_done)
    if os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" and epochs_done > 1.3:
        os.kill(os.getpid(), signal.SIGKILL)
    set_rate(self, epochs_done)

Session.set_rate = dying
main()
"""


def torchrun(*words: str, restarts: int = 0) -> "subprocess.CompletedProcess[str]":
    """Run two processes to their end."""
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node=2",
        f"--max-restarts={restarts}",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(
        [*command, *words], env=environment, capture_output=True, text=True, timeout=240, check=False
    )


def assert_same(folder: Path, expected: Path) -> None:
    """Sums over the rows of a batch are rounded otherwise in two parts: six digits agree."""
    for split in ("valid", "test"):
        found, wanted = results(folder)["splits"][split], results(expected)["splits"][split]
        for name, value in wanted.items():
            if isinstance(value, float):
                assert found[name] == pytest.approx(value, rel=1e-4, abs=1e-5), (split, name)
    parts = (
        load_checkpoint(path / "classifier.safetensors")["parts"]["network"] for path in (folder, expected)
    )
    ours, theirs = parts
    for name, tensor in theirs.items():
        assert (ours[name] - tensor).abs().max() < 1e-5, name
    assert results(folder)["run"]["processes"] == 2
    assert results(expected)["run"]["processes"] == 1


def test_a_sweep_in_two_processes_equals_one(doors: Doors, tiny: Path, no_figures: None) -> None:
    heads = ("sigmoid", "factorised")
    for head in heads:
        assert doors.train(*mulan(f"one_{head}", *WORDS, f"head={head}")).code == 0
    words = [word for word in mulan("x", *WORDS) if not word.startswith("hydra.run.dir=")]
    sweep = ("hydra.sweep.dir=two", "hydra.sweep.subdir=${hydra:runtime.choices.head}")
    outcome = torchrun("-m", "mlc.train", "-m", *words, "head=sigmoid,factorised", *sweep)
    assert outcome.returncode == 0, outcome.stderr
    for head in heads:
        assert_same(Path("two", head), Path(f"one_{head}"))
    assert outcome.stdout.count("epoch 3 ") == 2, "one process of the two talks"
    assert {path.name for path in Path("two").iterdir() if path.is_dir()} == set(heads)


def test_a_worker_that_dies_is_started_again_and_nothing_is_lost(
    doors: Doors, tiny: Path, no_figures: None
) -> None:
    assert doors.train(*mulan("one", *WORDS)).code == 0
    Path("dies_once.py").write_text(DIES_ONCE)
    words = mulan("two", *WORDS, "trainer.checkpoint_every_steps=1")
    outcome = torchrun("dies_once.py", *words, restarts=1)
    assert outcome.returncode == 0, outcome.stderr
    assert "resumed after epoch 1 and" in outcome.stdout
    assert_same(Path("two"), Path("one"))
