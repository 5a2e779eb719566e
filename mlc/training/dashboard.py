"""TensorBoard as a dashboard: few points with names that group, comparable between runs.

Tags: train/.. while training, valid/.. after each epoch, f1/<label> and ece/<label> by label name,
final/<split>/.. at the end. TensorBoard groups by what stands before the first "/", so a label may have any
name and tags stay distinct.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from torch import Tensor

from mlc.training.label_choice import most_frequent

if TYPE_CHECKING:  # all of these import what is only needed once there is something to show
    from matplotlib.figure import Figure

    from mlc.metrics.suite import SuiteResult
    from mlc.training.evaluation import Evaluation

MOST_LABELS = 100
_LABEL_COLUMNS = ("f1", "ece", "ece_uncalibrated")
# The metrics by which the HParams tab compares runs; more columns than these are hard to read there.
_COMPARED = ("micro_f1", "macro_f1", "subset_accuracy", "hamming_loss", "map", "classwise_ece")
# Which curves share a chart under "Custom scalars". A tag is a regular expression, matched from its start.
_LAYOUT = {
    "Training": {
        "loss": ["Multiline", ["train/loss$", "valid/loss$"]],
        "learning rate": ["Multiline", ["train/learning_rate$"]],
        "examples per second": ["Multiline", ["train/examples_per_s$"]],
    },
    "Validation": {
        "micro-F1": ["Multiline", ["valid/micro_f1$"]],
        "macro-F1": ["Multiline", ["valid/macro_f1$"]],
        "class-wise ECE": ["Multiline", ["valid/classwise_ece$", "valid/classwise_ece_uncalibrated$"]],
        "subset accuracy": ["Multiline", ["valid/subset_accuracy$"]],
        "Hamming loss": ["Multiline", ["valid/hamming_loss$"]],
    },
    "Labels": {
        "F1 of each label": ["Multiline", ["f1/"]],
        "ECE of each label": ["Multiline", ["ece/"]],
    },
}


class Dashboard:
    """Write a run's TensorBoard events; a context manager.

    Args:
        folder: the run's folder. The event file lies directly in it, so that the run has the folder's name.
        label_names: the L labels.
        positives_L: training rows of each label; of more than 100 labels the most frequent 100 get curves.
        purge_step: in a resumed run the first step that is trained again: points from there on, written
            before the run was cut, disappear. None in a fresh run.
        silent: write nothing, as all but the main one of several processes.
    """

    def __init__(
        self,
        *,
        folder: Path,
        label_names: Sequence[str],
        positives_L: Tensor,
        purge_step: int | None,
        silent: bool = False,
    ) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = (
            _Nowhere() if silent else SummaryWriter(str(folder), purge_step=purge_step, flush_secs=10)
        )
        # Takes several points in one event; torch annotates it as None.
        self._events: Any = self._writer.file_writer
        self._label_names = label_names
        self._shown = most_frequent(positives_L, MOST_LABELS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def introduce(self, *, config_yaml: str, notes: Iterable[str] = ()) -> None:
        """Write what the run is: its resolved config and notes as text, and which curves share a chart.

        For fresh runs: a resumed one was introduced when it began.
        """
        if self._shown.sentence:
            notes = [
                *notes,
                f"Single labels have curves here for {self._shown.sentence}; per_label.csv has all.",
            ]
        self._writer.add_text("run/config", f"```yaml\n{config_yaml.rstrip()}\n```", global_step=0)
        self._writer.add_text("run/notes", "\n".join(f"- {note}" for note in notes) or "none", global_step=0)
        self._writer.add_custom_scalars(_LAYOUT)

    def profile(self, table: str) -> None:
        """Write the profiler's table of the costliest operations."""
        self._writer.add_text("run/profile", f"```\n{table}\n```", global_step=0)

    def train(self, step: int, *, loss: float, learning_rate: float, examples_per_s: float) -> None:
        """Write one logging interval of training: mean loss, learning rate and speed since the last one."""
        speed = {"train/learning_rate": learning_rate, "train/examples_per_s": examples_per_s}
        self._scalars({"train/loss": loss, **speed}, step)

    def validate(self, step: int, result: "SuiteResult", *, loss: float) -> None:
        """Write the validation after an epoch: every metric that is defined, F1 and ECE of each label."""
        values = {"valid/loss": loss, **{f"valid/{name}": value for name, value in result.values.items()}}
        for column in _LABEL_COLUMNS:
            if column in result.per_label:
                numbers = result.per_label[column].tolist()
                values |= {f"{column}/{self._label_names[i]}": numbers[i] for i in self._shown.indices}
        self._scalars(values, step)

    def finish(
        self,
        step: int,
        evaluations: "Mapping[str, Evaluation]",
        *,
        figures: "Mapping[str, Figure]",
        hyperparameters: Mapping[str, object],
    ) -> None:
        """Write what the finished run found: final metrics, figures, curves, and its row in the HParams tab.

        Args:
            step: optimiser steps taken.
            evaluations: of each split, "test" among them; curves and the HParams tab show that one.
            figures: pictures by name.
            hyperparameters: what distinguishes runs, nested as in the config. TensorBoard takes the columns
                from one run of a folder, so every run should give the same names.
        """
        # One step later: a resumed run purges from its next step on, and so replaces these points too.
        step += 1
        final = {
            f"final/{split}_{name}": value
            for split, evaluation in evaluations.items()
            for name, value in evaluation.metrics.items()
        }
        self._scalars(final, step)
        for name, figure in figures.items():
            self._image(f"figures/{name}", figure, step)
        self._curves(step, evaluations["test"])
        compared = [f"final/test_{name}" for name in _COMPARED]
        self._compare(hyperparameters, [tag for tag in compared if final.get(tag) is not None])

    def _scalars(self, values: Mapping[str, float | None], step: int) -> None:
        """One event for all values: a point costs a few microseconds, and undefined ones are left out."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        points = [
            Summary.Value(tag=tag, simple_value=value)
            for tag, value in values.items()
            if value is not None and value == value
        ]
        self._events.add_summary(Summary(value=points), step)

    def _image(self, tag: str, figure: "Figure", step: int) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        from mlc.training.figure_style import png

        image = Summary.Image(encoded_image_string=png(figure), colorspace=4)
        image.width, image.height = (round(inches * 100) for inches in figure.get_size_inches())
        self._events.add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), step)

    def _curves(self, step: int, evaluation: "Evaluation") -> None:
        """Precision-recall curves of single labels."""
        suite, rows = evaluation.suite, evaluation.suite.values["rows"]
        if suite.average_precision is None or rows is None:
            return
        for label in self._shown.indices:
            positives = float(suite.per_label["support"][label])
            if positives <= 0:
                continue
            known = float(suite.per_label["known"][label]) if "known" in suite.per_label else rows
            # TensorBoard wants recall to fall from 1, and counts of rows beside the ratios.
            precision_C = suite.average_precision.precision_LC[label].flip(0).cpu()
            recall_C = suite.average_precision.recall_LC[label].flip(0).cpu()
            tp_C = recall_C * positives
            fp_C = tp_C / precision_C - tp_C
            self._writer.add_pr_curve_raw(
                f"precision_recall/{self._label_names[label]}",
                true_positive_counts=tp_C.numpy(),
                false_positive_counts=fp_C.numpy(),
                true_negative_counts=(known - positives - fp_C).numpy(),
                false_negative_counts=(positives - tp_C).numpy(),
                precision=precision_C.numpy(),
                recall=recall_C.numpy(),
                global_step=step,
                num_thresholds=len(recall_C),
            )

    def _compare(self, hyperparameters: Mapping[str, object], metric_tags: Sequence[str]) -> None:
        """A row of the HParams tab, in this run's own file: add_hparams would open a second run for it."""
        from torch.utils.tensorboard.summary import hparams

        for summary in hparams(flatten(hyperparameters), dict.fromkeys(metric_tags)):
            self._events.add_summary(summary)


class _Nowhere:
    """A writer that writes nothing."""

    def __getattr__(self, name: str) -> Any:
        return self

    def __call__(self, *values: Any, **options: Any) -> None:
        return None


def flatten(nested: Mapping[str, object], prefix: str = "") -> dict[str, float | str]:
    """Hyperparameters under dotted names, as numbers or text: HParams knows neither lists nor None.

    A `_target_` becomes the name of the class under the name of its section: {"head": "FactorisedHead"}.
    """
    flat: dict[str, float | str] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, prefix=f"{prefix}{key}.")
        elif key == "_target_" and prefix:
            flat[prefix.removesuffix(".")] = str(value).rpartition(".")[2]
        elif isinstance(value, int | float) and not isinstance(value, bool):
            flat[f"{prefix}{key}"] = value
        else:
            flat[f"{prefix}{key}"] = str(value)
    return flat
