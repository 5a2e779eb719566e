import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mlc.calibration.none import NoCalibration
from mlc.data.dataset import Dataset, Split
from mlc.decisions.base import Decision
from mlc.decisions.thresholds import GlobalThreshold, PerLabelThreshold
from mlc.errors import UserError
from mlc.model import Classifier
from mlc.training import finish
from mlc.training.evaluation import evaluate, fit_on_validation, predict_split
from mlc.training.measure_again import measure_again, measure_otherwise
from mlc.training.report import write_results
from mlc.training.run import run as train
from mlc.training.run_files import RunFiles
from tests.unit.training import tiny, tiny_job

SETTINGS = tiny.settings()


@pytest.fixture
def run(tmp_path: Path) -> tuple[Classifier, Path]:
    """A fitted classifier, and the folder with its results."""
    classifier, data = tiny.classifier(), tiny.dataset()
    predictions = {
        name: predict_split(classifier.network, split, SETTINGS, "cpu")
        for name, split in (("valid", data.valid), ("test", data.test))
    }
    fit_on_validation(classifier, predictions["valid"], memory_limit_mb=1.0)
    splits = {name: evaluate(classifier, found) for name, found in predictions.items()}
    write_results(RunFiles(tmp_path).results, run={"seed": 0}, splits=splits)
    return classifier, tmp_path


def again(run: tuple[Classifier, Path], dataset: Dataset | None = None) -> str:
    return measure_again(run[0], dataset or tiny.dataset(), SETTINGS, run[1], facts=tiny_job.facts())


def results(folder: Path) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads(RunFiles(folder).results.read_text(encoding="utf-8"))
    return stored


def test_the_same_classifier_measures_the_same(run: tuple[Classifier, Path]) -> None:
    text = again(run)
    assert text.endswith(f"All metrics equal those in {RunFiles(run[1]).results}.")
    assert again(run) == text, "measuring changes nothing"


def test_the_tables_show_both_splits(run: tuple[Classifier, Path]) -> None:
    text = again(run)
    stored = results(run[1])["splits"]
    for split in ("valid", "test"):
        assert split in text
        assert f"{stored[split]['micro_f1']:.4f}" in text
    assert "größe" in text


def test_one_changed_number_is_found_and_named(run: tuple[Classifier, Path]) -> None:
    stored = results(run[1])
    old = stored["splits"]["test"]["micro_f1"]
    stored["splits"]["test"]["micro_f1"] = math.nextafter(old, 2)
    RunFiles(run[1]).results.write_text(json.dumps(stored))
    text = again(run)
    assert f"1 metric differs from {RunFiles(run[1]).results}, the most in:" in text
    assert text.endswith(f"test micro_f1: {old} here, {math.nextafter(old, 2)} stored")


def test_a_metric_that_was_not_stored_is_named(run: tuple[Classifier, Path]) -> None:
    stored = results(run[1])
    del stored["splits"]["valid"]["map"]
    RunFiles(run[1]).results.write_text(json.dumps(stored))
    assert "valid map: " in again(run)
    assert again(run).endswith("None stored")


def test_changed_weights_are_noticed(run: tuple[Classifier, Path]) -> None:
    with torch.no_grad():
        for parameter in run[0].network.parameters():
            parameter.add_(0.1)
    text = again(run)
    assert "metrics differ" in text
    *_, first, _, _, _, _, last = text.splitlines()
    assert "the most in" not in first
    assert re.fullmatch("and [0-9]+ more", last)


def test_the_reason_is_named_where_the_folder_tells(tmp_path: Path) -> None:
    job = tiny_job.job(tmp_path)
    train(job, found=None)
    data = tiny.dataset()
    assert isinstance(data.test.y_NL, torch.Tensor)
    data.test.y_NL[0] = 1 - data.test.y_NL[0]
    text = measure_again(job.classifier, data, job.settings, tmp_path, facts=tiny_job.facts())
    assert f"metrics differ from {RunFiles(tmp_path).results} (other test rows), the most in:" in text
    with torch.no_grad():
        next(job.classifier.network.parameters()).add_(0.1)
    text = measure_again(job.classifier, tiny.dataset(), job.settings, tmp_path, facts=tiny_job.facts())
    assert ", and neither data nor code nor machine have changed, the most in:" in text


def test_an_infinite_loss_is_stored_as_null_and_still_the_same(
    run: tuple[Classifier, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier, folder = run
    real = classifier.loss.forward
    monkeypatch.setattr(classifier.loss, "forward", lambda *given: real(*given) * math.inf)
    stored = results(folder)
    for split in stored["splits"].values():
        split["loss"] = None
    RunFiles(folder).results.write_text(json.dumps(stored))
    assert "All metrics equal" in again(run)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "3",
        "{}",
        '{"splits": []}',
        '{"splits": {"valid": {}}}',
        '{"splits": {"valid": 1, "test": 2}}',
    ],
)
def test_results_that_cannot_be_read(run: tuple[Classifier, Path], content: str) -> None:
    RunFiles(run[1]).results.write_text(content)
    with pytest.raises(UserError, match=r"results\.json cannot be read as the results of a run"):
        again(run)


def test_results_that_are_not_there(run: tuple[Classifier, Path]) -> None:
    RunFiles(run[1]).results.unlink()
    with pytest.raises(UserError, match=r"results\.json cannot be read"):
        again(run)


def test_data_with_other_labels_are_refused(run: tuple[Classifier, Path]) -> None:
    renamed = replace(tiny.dataset(), label_names=("other", *tiny.NAMES[1:]))
    with pytest.raises(UserError, match="other labels"):
        again(run, renamed)
    swapped = replace(tiny.dataset(), label_names=tiny.NAMES[::-1])
    with pytest.raises(UserError, match="other labels"):
        again(run, swapped)


def test_data_with_other_inputs_are_refused(run: tuple[Classifier, Path]) -> None:
    data = tiny.dataset()
    wider = [Split({"x": s.inputs["x"].repeat(1, 2)}, s.y_NL) for s in (data.train, data.valid, data.test)]
    with pytest.raises(UserError, match=r"\(8,\).*\(4,\)"):
        again(run, replace(data, train=wider[0], valid=wider[1], test=wider[2]))


def trained(folder: Path, rule: type[Decision], *, separate: bool, seed: int) -> dict[str, Any]:
    """The metrics that a run with this rule stores."""
    train(tiny_job.job(folder, rule=rule, seed=seed, separate_fit=separate), found=None)
    return results(folder)["splits"]


@pytest.mark.parametrize("separate", [False, True])
def test_another_rule_is_that_of_the_run_that_was_trained_with_it(
    separate: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finish, "draw_evaluation", lambda *_, **__: {})  # pictures take time
    seed = 3
    first = trained(tmp_path / "a", PerLabelThreshold, separate=separate, seed=seed)
    second = trained(tmp_path / "b", GlobalThreshold, separate=separate, seed=seed)
    assert first["test"]["loss"] == second["test"]["loss"], "the rule has no part in training"
    assert first["test"] != second["test"]

    otherwise = tiny_job.classifier(99, GlobalThreshold)
    network = tiny_job.best_network(tmp_path / "a")
    otherwise.network.load_state_dict(network)
    found = measure_otherwise(
        otherwise,
        tiny.dataset(),
        tiny.settings(separate_fit=separate),
        facts=tiny_job.facts(),
        seed=seed,
    )
    for name, evaluation in found.items():
        stored = second[name]
        assert evaluation.metrics == {metric: stored[metric] for metric in evaluation.metrics}
        assert stored.keys() - evaluation.metrics.keys() == {"null_reasons"}
    after = otherwise.network.state_dict()
    assert all(torch.equal(network[key], after[key]) for key in network), "only the rules are fitted"


def test_another_calibrator_is_fitted_too() -> None:
    data, facts = tiny.dataset(), tiny_job.facts()
    platt, none = tiny_job.classifier(), replace(tiny_job.classifier(), calibrator=NoCalibration(n_labels=3))
    found = [measure_otherwise(c, data, SETTINGS, facts=facts, seed=0)["test"].metrics for c in (platt, none)]
    assert found[0]["loss"] == found[1]["loss"]
    assert found[0]["brier"] != found[1]["brier"]
    assert found[1]["brier"] == found[1]["brier_uncalibrated"]


def test_the_seed_says_which_rows_another_rule_is_fitted_on() -> None:
    settings, thresholds = tiny.settings(separate_fit=True), []
    for seed in (0, 0, 1):
        made = tiny_job.classifier()
        measure_otherwise(made, tiny.dataset(), settings, facts=tiny_job.facts(), seed=seed)
        thresholds.append(made.decision.thresholds())
    assert torch.equal(thresholds[0], thresholds[1])
    assert not torch.equal(thresholds[0], thresholds[2])


def test_another_rule_is_refused_other_data() -> None:
    renamed = replace(tiny.dataset(), label_names=("other", *tiny.NAMES[1:]))
    with pytest.raises(UserError, match="other labels"):
        measure_otherwise(tiny_job.classifier(), renamed, SETTINGS, facts=tiny_job.facts(), seed=0)
