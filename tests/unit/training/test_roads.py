"""A whole run with its labels in chunks against one without: the same results."""

from dataclasses import replace
from pathlib import Path

import pytest

from mlc.calibration.temperature import Temperature
from mlc.training import run
from mlc.training.job import Job
from mlc.training.label_predictions import LabelPredictions
from mlc.training.measure_again import measure_again
from mlc.training.run_files import RunFiles
from tests.unit.training import tiny, tiny_job


def job(folder: Path, label_chunk: int | None) -> Job:
    made = tiny_job.job(folder, label_chunk=label_chunk, max_epochs=2, monitor="map")
    return replace(made, classifier=replace(made.classifier, calibrator=Temperature(n_labels=tiny.LABELS)))


def test_a_run_in_chunks_has_the_results_of_one_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, chunks = job(tmp_path / "whole", None), job(tmp_path / "chunks", 2)
    run.run(whole, found=None)
    asked = []
    predict = run.predict_split
    monkeypatch.setattr(run, "predict_split", lambda *given: asked.append(predict(*given)) or asked[-1])
    run.run(chunks, found=None)
    assert [type(predictions) for predictions in asked] == [LabelPredictions] * 2
    expected, found = (tiny_job.results(made.folder)["splits"] for made in (whole, chunks))
    for split in ("valid", "test"):
        assert found[split].pop("null_reasons") == expected[split].pop("null_reasons")
        assert list(found[split]) == list(expected[split])
        for name, value in expected[split].items():
            wanted = value if value is None else pytest.approx(value, rel=1e-4, abs=1e-6)
            assert found[split][name] == wanted, name
    header = RunFiles(whole.folder).per_label.read_text(encoding="utf-8").splitlines()[0]
    assert RunFiles(chunks.folder).per_label.read_text(encoding="utf-8").splitlines()[0] == header
    verdict = measure_again(
        chunks.classifier, chunks.dataset, chunks.settings, chunks.folder, facts=chunks.facts
    )
    assert verdict.splitlines()[-1].startswith("All metrics equal")
