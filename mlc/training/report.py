"""What a run leaves for people: a summary to read, a table of all labels, and results.json."""

import csv
import json
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from mlc.training.csv_cells import safe_cell
from mlc.training.files import atomic_path, atomic_write_text
from mlc.training.label_choice import frequent_and_worst
from mlc.training.text_table import align, shorten

if TYPE_CHECKING:  # a table does not need the metrics
    from mlc.training.evaluation import Evaluation

FORMAT_VERSION = 1
_ADVICE = "calibration=platt"  # of outputs without probabilities
_LABELS_AT_A_TIME = 2**14  # that are Python numbers at once: of a million they would take a gigabyte
_SUMMARY = {
    "micro_f1": "micro-F1",
    "macro_f1": "macro-F1",
    "subset_accuracy": "subset accuracy",
    "hamming_loss": "Hamming loss",
    "map": "mAP",
    "classwise_ece_uncalibrated": "class-wise ECE before calibration",
    "classwise_ece": "class-wise ECE after calibration",
}
_LEVELS = {"level_accuracy": "level accuracy", "level_exact": "all levels right", "level_mae": "level MAE"}
# Columns of the printed table: key in the per-label table, heading, format.
_COLUMNS = (
    ("support", "support", ".0f"),
    ("predicted", "predicted", ".0f"),
    ("precision", "precision", ".3f"),
    ("recall", "recall", ".3f"),
    ("f1", "F1", ".3f"),
    ("ap", "AP", ".3f"),
    ("ece_uncalibrated", "ECE before", ".3f"),
    ("ece", "ECE after", ".3f"),
    ("threshold", "threshold", ".3g"),
)


def final_report(
    evaluations: "Mapping[str, Evaluation]",
    *,
    label_names: Sequence[str],
    thresholds_L: Tensor | None,
    folder: Path,
) -> str:
    """What is printed when training has ended: labels of the test split, summary, where to look next.

    Args:
        evaluations: of each split, "test" among them.
        label_names: the L labels.
        thresholds_L: the decision rule's thresholds, or None if it has none.
        folder: the run's folder.
    """
    table = label_table(label_names, evaluations["test"], thresholds_L=thresholds_L)
    return "\n" + "\n\n".join([f"Labels on test\n{table}", summary_table(evaluations), where_next(folder)])


def label_table(label_names: Sequence[str], evaluation: "Evaluation", *, thresholds_L: Tensor | None) -> str:
    """The table of single labels, most frequent first.

    Of more than 40 labels it has the 20 most frequent and, of the rest, the 20 worst by F1, and says so.
    """
    columns = _label_columns(evaluation, thresholds_L)
    choice = frequent_and_worst(columns["support"], columns["f1"])
    shown = [(key, heading, form) for key, heading, form in _COLUMNS if key in columns]
    rows = [["label", *(heading for _, heading, _ in shown)]]
    for i in choice.indices:
        cells = [_number(float(columns[key][i]), form) for key, _, form in shown]
        rows.append([shorten(label_names[i]), *cells])
    note = f"\n({choice.sentence}; per_label.csv has all)" if choice.sentence else ""
    return align(rows) + note


def summary_table(evaluations: "Mapping[str, Evaluation]") -> str:
    """The metrics to look at first, a column for each split, and the reason for each one that is missing."""
    rows = [["", *evaluations]]
    reasons: dict[str, None] = {}
    has_levels = any("level_accuracy" in evaluation.metrics for evaluation in evaluations.values())
    for name, title in (_SUMMARY | (_LEVELS if has_levels else {})).items():
        values = {split: evaluation.metrics.get(name) for split, evaluation in evaluations.items()}
        rows.append([title, *(_number(value, ".4f") for value in values.values())])
        for split, value in values.items():
            if value is None:
                reasons[f"{title}: {_in_full(evaluations[split].reasons.get(name, 'not computed'))}"] = None
    return "\n".join([align(rows), *(f"- {reason}" for reason in reasons)])


def _in_full(reason: str) -> str:
    """A reason whose advice also says where it is refused: an output model knows nothing of the trainer."""
    return reason.replace(_ADVICE, f"{_ADVICE}, which trainer.label_chunk does not go with")


def where_next(folder: Path) -> str:
    """The commands that a finished run invites; paths as short as the working directory allows."""
    if folder.is_relative_to(Path.cwd()):
        folder = folder.relative_to(Path.cwd())
    run, runs = shlex.quote(str(folder)), shlex.quote(str(folder.parent))
    rows = [
        ["run folder", run],
        ["curves", f"tensorboard --logdir {runs}"],
        ["measure again", f"python -m mlc.evaluate run={run}"],
        ["predict", f"python -m mlc.predict run={run} input=<file> output=<file.csv>"],
    ]
    return "\n".join(f"{name:<15}{text}" for name, text in rows)


def write_per_label_csv(
    path: Path, *, label_names: Sequence[str], evaluation: "Evaluation", thresholds_L: Tensor | None
) -> None:
    """Write every label's row, in the order of the data set; an undefined value is an empty cell.

    The names of labels are safe for spreadsheets; see `safe_cell`.
    """
    columns = _label_columns(evaluation, thresholds_L)
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        # All text is quoted, so that a name may hold commas, quotes and line ends of any kind.
        writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
        writer.writerow(["label", *columns])
        for start in range(0, len(label_names), _LABELS_AT_A_TIME):
            few = slice(start, start + _LABELS_AT_A_TIME)
            values = (column[few].tolist() for column in columns.values())
            for name, *numbers in zip(label_names[few], *values, strict=True):
                writer.writerow([safe_cell(name), *("" if math.isnan(value) else value for value in numbers)])


def write_results(path: Path, *, run: Mapping[str, Any], splits: "Mapping[str, Evaluation]") -> None:
    """Write results.json: facts of the run, and the metrics of each split with the reason for each null.

    Args:
        path: the file.
        run: facts that JSON can hold; a number that is not finite becomes null.
        splits: evaluation of each split.
    """
    results = {
        "format_version": FORMAT_VERSION,
        "run": _without_nan(run),
        "splits": {name: _split(evaluation) for name, evaluation in splits.items()},
    }
    atomic_write_text(path, json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _split(evaluation: "Evaluation") -> dict[str, Any]:
    reasons = dict(evaluation.reasons)
    for name, value in evaluation.metrics.items():
        if value is None:
            reasons.setdefault(name, "not defined")
        elif not math.isfinite(value):
            reasons[name] = f"its value is {value}"
    metrics: dict[str, Any] = _without_nan(evaluation.metrics)
    return {**metrics, "null_reasons": reasons}


def _without_nan(value: Any) -> Any:
    """The same plain value with None for every number that is not finite: JSON has none of these."""
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _label_columns(evaluation: "Evaluation", thresholds_L: Tensor | None) -> dict[str, Tensor]:
    columns = dict(evaluation.suite.per_label)
    if thresholds_L is not None:
        columns["threshold"] = thresholds_L
    known = [key for key, _, _ in _COLUMNS if key in columns]
    return {key: columns[key] for key in (*known, *columns)}


def _number(value: float | None, form: str) -> str:
    return "-" if value is None or math.isnan(value) else format(value, form)
