"""Measure a trained classifier again, and hold the numbers against those it stored."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

from mlc.data.dataset import Dataset
from mlc.errors import UserError
from mlc.inputs import InputSpec
from mlc.model import Classifier
from mlc.training.evaluation import Evaluation
from mlc.training.report import label_table, summary_table
from mlc.training.roads import evaluate, fit_on_validation, predict_split
from mlc.training.run_files import Facts, RunFiles
from mlc.training.settings import TrainerSettings, choose_device
from mlc.training.validation_rows import rows_to_fit_on


def measure_again(
    classifier: Classifier, dataset: Dataset, settings: TrainerSettings, folder: Path, *, facts: Facts
) -> str:
    """Evaluate validation and test split; the tables, and whether results.json says the same.

    Raises:
        UserError: the folder's results.json cannot be read, or the data has other labels or inputs than those
            the classifier was made for.
    """
    _check_data(dataset, facts)
    device = choose_device(settings.device)
    classifier.to(device)
    evaluations = _evaluate_splits(classifier, dataset, settings, device)
    thresholds_L = classifier.decision.thresholds()
    table = label_table(dataset.label_names, evaluations["test"], thresholds_L=thresholds_L)
    verdict = _compare(RunFiles(folder).results, evaluations)
    return "\n\n".join([f"Labels on test\n{table}", summary_table(evaluations), verdict])


def measure_otherwise(
    classifier: Classifier, dataset: Dataset, settings: TrainerSettings, *, facts: Facts, seed: int
) -> dict[str, Evaluation]:
    """Fit another calibrator or decision rule on the validation rows of the run, and measure with it.

    Args:
        classifier: trained; its calibrator and decision are new, and changed in place.
        dataset: the data of the run.
        settings: of the run.
        facts: of the run.
        seed: of the run; it says which validation rows are fitted on.

    Raises:
        UserError: the data has other labels or inputs than those the classifier was made for.
    """
    _check_data(dataset, facts)
    device = choose_device(settings.device)
    classifier.to(device)
    rows = rows_to_fit_on(dataset.valid, settings, seed=seed).to(device)
    fit_on_validation(
        classifier,
        predict_split(classifier.network, rows, settings, device),
        memory_limit_mb=settings.memory_limit_mb,
        separate=settings.separate_fit,
    )
    return _evaluate_splits(classifier, dataset, settings, device)


def _evaluate_splits(
    classifier: Classifier, dataset: Dataset, settings: TrainerSettings, device: str
) -> dict[str, Evaluation]:
    return {
        name: evaluate(classifier, predict_split(classifier.network, split.to(device), settings, device))
        for name, split in (("valid", dataset.valid), ("test", dataset.test))
    }


def _check_data(dataset: Dataset, facts: Facts) -> None:
    wrong = ""
    if dataset.label_names != facts.label_names:
        wrong = "other labels than"
    elif dataset.inputs != facts.inputs:
        wrong = f"inputs that are {_described(dataset.inputs)}, not {_described(facts.inputs)} like"
    if wrong:
        raise UserError(
            f"{dataset.name} has {wrong} the data this classifier was trained on: give it the same files"
        )


def _described(inputs: Mapping[str, InputSpec]) -> str:
    return " and ".join(f"{spec.kind} of shape {spec.shape}" for spec in inputs.values())


def _compare(path: Path, evaluations: dict[str, Evaluation]) -> str:
    try:
        splits = json.loads(path.read_text(encoding="utf-8"))["splits"]
        stored = {split: dict(splits[split]) for split in evaluations}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as the results of a run ({error})") from error
    differences = [
        f"{split} {name}: {value} here, {stored[split].get(name)} stored"
        for split, evaluation in evaluations.items()
        for name, value in evaluation.metrics.items()
        if _as_stored(value) != stored[split].get(name)
    ]
    if not differences:
        return f"All metrics equal those in {path}."
    return "\n".join([f"{len(differences)} metrics differ from {path}:", *differences])


def _as_stored(value: float | None) -> float | None:
    """JSON has no infinity and no NaN: these are stored as null."""
    return value if value is not None and math.isfinite(value) else None
