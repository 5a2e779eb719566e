"""Labels in shards by torchrun: two processes begin, one goes on, and it ends as one process does."""

from pathlib import Path

import pytest

from mlc.training.checkpoint import load_checkpoint
from tests.integration.doors import Doors, results
from tests.integration.test_processes import torchrun
from tests.integration.tiny_mulan import mulan

WORDS = (
    *("trainer.batch_size=7", "trainer.patience=null", "trainer.label_chunk=1", "schedule=constant"),
    *("backbone.dropout=0.0", "head=factorised", "calibration=none"),
)


def test_two_processes_begin_and_one_goes_on(doors: Doors, tiny: Path, no_figures: None) -> None:
    assert doors.train(*mulan("one", *WORDS, "trainer.max_epochs=2")).code == 0
    begun = torchrun(
        "-m", "mlc.train", *mulan("two", *WORDS, "trainer.max_epochs=1", "trainer.label_shards=true")
    )
    assert begun.returncode == 0, begun.stderr
    assert results(Path("two"))["run"]["processes"] == 2
    assert results(Path("two"))["run"]["parameters"] == results(Path("one"))["run"]["parameters"]

    refused = doors.train("resume=two", "trainer.max_epochs=2")
    assert refused.code == 2
    assert "torchrun" in refused.err
    assert "trainer.label_shards=false" in refused.err

    assert doors.train("resume=two", "trainer.max_epochs=2", "trainer.label_shards=false").code == 0
    for split in ("valid", "test"):
        found, wanted = (results(Path(run))["splits"][split] for run in ("two", "one"))
        for name, value in wanted.items():
            if isinstance(value, float):
                assert found[name] == pytest.approx(value, rel=1e-4, abs=1e-5), (split, name)
    ours, theirs = (
        load_checkpoint(Path(run, "classifier.safetensors"))["parts"]["network"] for run in ("two", "one")
    )
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert (ours[name] - tensor).abs().max() < 1e-5, name
