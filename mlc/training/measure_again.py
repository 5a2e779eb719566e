"""Measure a trained classifier again, and hold the numbers against those it stored."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

from mlc.data.dataset import Dataset
from mlc.errors import UserError
from mlc.inputs import InputSpec
from mlc.model import Classifier
from mlc.training.checksums import digest
from mlc.training.evaluation import Evaluation
from mlc.training.provenance import Provenance, Sitting, changed_data, differences
from mlc.training.report import label_table, summary_table
from mlc.training.roads import evaluate, fit_on_validation, predict_split
from mlc.training.run_files import Facts, RunFiles
from mlc.training.settings import TrainerSettings, choose_device
from mlc.training.text_table import printable
from mlc.training.validation_rows import rows_to_fit_on

_MOST_LINES = 5  # of metrics that differ


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
    verdict = _compare(folder, evaluations, dataset, device)
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


def _compare(folder: Path, evaluations: dict[str, Evaluation], dataset: Dataset, device: str) -> str:
    """Whether results.json says the same; if not, how far it is from it, and why."""
    path = RunFiles(folder).results
    try:
        splits = json.loads(path.read_text(encoding="utf-8"))["splits"]
        stored = {split: dict(splits[split]) for split in evaluations}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as the results of a run ({error})") from error
    found = [
        (split, name, value, stored[split].get(name))
        for split, evaluation in evaluations.items()
        for name, value in evaluation.metrics.items()
        if _as_stored(value) != stored[split].get(name)
    ]
    if not found:
        return f"All metrics equal those in {path}."
    found.sort(key=lambda one: -_distance(*one[2:]))
    lines = [f"{split} {name}: {value} here, {_shown(old)} stored" for split, name, value, old in found]
    if len(lines) > _MOST_LINES:
        lines[_MOST_LINES:] = [f"and {len(lines) - _MOST_LINES} more"]
    count = "1 metric differs" if len(found) == 1 else f"{len(found)} metrics differ"
    return "\n".join([f"{count} from {path}{_why(folder, dataset, device)}, the most in:", *lines])


def _shown(stored: object) -> str:
    return printable(str(stored)[:40])


def _distance(here: float | None, stored: object) -> float:
    """How far two values of a metric are from each other, in proportion."""
    if here is None or not isinstance(stored, float):
        return math.inf
    return abs(here - stored) / max(abs(here), abs(stored), 1e-300)


def _why(folder: Path, dataset: Dataset, device: str) -> str:
    """What is not as it was when the run was trained, as far as the run folder tells."""
    begun = Provenance.read(folder)
    if begun is None:
        return ""
    changed = [f"other {part}" for part in changed_data(begun.data, digest(dataset))]
    reasons = [*changed, *differences(begun.sittings, Sitting.here(device=device))]
    return f" ({'; '.join(reasons)})" if reasons else ", and neither data nor code nor machine have changed"


def _as_stored(value: float | None) -> float | None:
    """JSON has no infinity and no NaN: these are stored as null."""
    return value if value is not None and math.isfinite(value) else None
