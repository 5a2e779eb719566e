"""Every metric of an evaluation at once, under flat and stable names."""

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from mlc.errors import Fault, UserError
from mlc.metrics.accumulators import (
    Accumulator,
    ExactAveragePrecision,
    HistogramAveragePrecision,
    SumAccumulator,
)
from mlc.metrics.average_precision import AveragePrecision, label_mean
from mlc.metrics.blocks import CELLS, in_threads
from mlc.metrics.calibration import (
    Reliability,
    calibration_metrics,
    calibration_sums,
    label_calibration_error,
    log_loss,
    log_loss_sums,
    reliability,
)
from mlc.metrics.decisions import decision_metrics, decision_sums, label_decisions
from mlc.metrics.levels import level_metrics, level_sums
from mlc.metrics.ranking import ranking_metrics, ranking_sums
from mlc.metrics.weights import is_true, known_entries

R = TypeVar("R")
Mode = Literal["exact", "streaming"]
_SUFFIX = {"calibrated": "", "uncalibrated": "_uncalibrated"}
_BYTES_PER_CELL = 5  # float32 score, one byte of target


def choose_mode(n_rows: int, numbers_per_row: int, *, memory_limit_mb: float) -> tuple[Mode, str]:
    """Whether all outputs can be kept for the exact average precision, and why, in one sentence."""
    needed_mb = n_rows * numbers_per_row * _BYTES_PER_CELL / 1e6
    size = f"the outputs of {n_rows} rows × {numbers_per_row} numbers take {needed_mb:.0f} MB"
    if needed_mb <= memory_limit_mb:
        return "exact", f"Average precision is exact: {size}, within the limit of {memory_limit_mb:g} MB."
    return (
        "streaming",
        f"Average precision comes from histograms, with an error bound: {size}, "
        f"more than the limit of {memory_limit_mb:g} MB.",
    )


@dataclass(frozen=True)
class SuiteResult:
    """What an evaluation found.

    Args:
        values: metric by name; None where it is not defined.
        reasons: why, for each None.
        per_label: columns of length L: precision, recall, f1, support, predicted, known where something is
            unknown, and where they were asked for ece, ece_uncalibrated, ap, ap_error_bound; NaN where not
            defined.
        reliability: reliability diagrams, of "calibrated" and "uncalibrated" as far as they are defined.
        average_precision: average precision and precision-recall curve of each label, if asked for.
    """

    values: Mapping[str, float | None]
    reasons: Mapping[str, str]
    per_label: Mapping[str, Tensor]
    reliability: Mapping[str, Reliability]
    average_precision: AveragePrecision | None


class EvaluationSuite:
    """Accumulates the metrics of a split, batch by batch.

    Suites of parts of the rows merge: `merge` within a process, `compute(merged=True)` across processes.
    Sums stay on the device of the batches until `compute`; on CUDA an update without ranking and average
    precision does not wait for the device.

    Args:
        n_labels: number of labels L.
        mode: "exact" keeps every score for average precision, "streaming" keeps histograms; all else is
            the same in both (see `choose_mode`).
        ks: the cut-offs of precision@k and nDCG@k.
        ranking: compute the ranking metrics; they sort every row.
        average_precision: compute mAP, average precision and curves; they sort every label.
        no_probabilities: why there are no probabilities, where there are none.
        no_uncalibrated: why there are no uncalibrated probabilities, where there are none.
        levels: number of levels K of each label, where labels have levels.
        device: where the batches are.
    """

    def __init__(
        self,
        *,
        n_labels: int,
        mode: Mode,
        ks: Sequence[int] = (1, 3, 5),
        ranking: bool = True,
        average_precision: bool = True,
        no_probabilities: str | None = None,
        no_uncalibrated: str | None = None,
        levels: int | None = None,
        device: str = "cpu",
    ) -> None:
        self._n_labels, self._mode = n_labels, mode
        self._ks = [k for k in ks if k <= n_labels]
        self._undefined = undefined_metrics(
            ks if ranking else (), n_labels, no_probabilities, no_uncalibrated
        )
        # The sums of no rows have the shapes of the sums of any rows.
        y_0L = torch.zeros(0, n_labels, device=device)
        self._decisions = SumAccumulator(lambda: decision_sums(y_0L.bool(), y_0L))
        self._ranking = SumAccumulator(lambda: ranking_sums(y_0L, y_0L, self._ks)) if ranking else None
        self._average_precision: ExactAveragePrecision | HistogramAveragePrecision | None = None
        if average_precision and mode == "exact":
            self._average_precision = ExactAveragePrecision(n_labels=n_labels)
        elif average_precision:
            self._average_precision = HistogramAveragePrecision(n_labels=n_labels, device=device)
        self._log_loss = None if no_probabilities else SumAccumulator(lambda: log_loss_sums(y_0L, y_0L))
        absent = {"calibrated": no_probabilities, "uncalibrated": no_uncalibrated}
        self._calibration = {
            name: SumAccumulator(lambda: calibration_sums(y_0L, y_0L))
            for name in absent
            if absent[name] is None
        }
        self._n_levels = levels or 0
        self._levels = None
        if levels:
            self._levels = SumAccumulator(lambda: level_sums(y_0L.long(), y_0L, n_levels=levels))
        self._device = device
        self._diverged = torch.zeros((), dtype=torch.bool, device=device)

    def parts(self) -> list[Accumulator[Any]]:
        """The accumulators in use."""
        parts = (self._decisions, self._ranking, self._average_precision, self._log_loss, self._levels)
        return [part for part in (*parts, *self._calibration.values()) if part is not None]

    def reset(self) -> None:
        """Forget all batches."""
        for part in self.parts():
            part.reset()
        self._diverged = torch.zeros_like(self._diverged)

    def merge(self, other: "EvaluationSuite") -> None:
        """Add the batches of a suite that was made with the same arguments."""
        for part, others in zip(self.parts(), other.parts(), strict=True):
            part.merge(others)
        self._diverged = self._diverged | other._diverged

    def update(
        self,
        *,
        decisions_BL: Tensor,
        scores_BL: Tensor,
        probabilities_BL: Tensor | None,
        uncalibrated_BL: Tensor | None,
        y_BL: Tensor,
        weight_B: Tensor | None = None,
        levels_BL: Tensor | None = None,
        y_levels_BL: Tensor | None = None,
    ) -> None:
        """Add a batch.

        Args:
            decisions_BL: booleans.
            scores_BL: float, larger = more relevant; in streaming mode on an unbounded scale.
            probabilities_BL: marginals, in 0..1; None if `no_probabilities` was given.
            uncalibrated_BL: the scores before calibration, read as if they were probabilities (and may
                exceed 1); None if `no_uncalibrated` was given.
            y_BL: float targets: 0, or above 0 where the label is there; NaN where unknown.
            weight_B: weights of the rows, 0 or more; None where all are 1.
            levels_BL: int64 decided levels; None if `levels` was not given.
            y_levels_BL: float true levels, NaN where unknown; None if `levels` was not given.

        Raises:
            UserError: a score is NaN, so nothing can be ranked; or a true level is K or above.
            ValueError: shapes differ, or probabilities or levels are missing, or are there although they were
                said to be absent.
        """
        probabilities = {"calibrated": probabilities_BL, "uncalibrated": uncalibrated_BL}
        given = {name: p_BL for name, p_BL in probabilities.items() if p_BL is not None}
        levels = [values for values in (levels_BL, y_levels_BL) if values is not None]
        self._check([y_BL, decisions_BL, scores_BL, *given.values(), *levels], weight_B)
        if given.keys() != self._calibration.keys():
            raise ValueError(f"expected probabilities {list(self._calibration)}, got {list(given)}")
        if len(levels) != (0 if self._levels is None else 2):
            raise ValueError("decided and true levels belong to a suite with `levels`, and to no other")
        self._note_divergence(scores_BL)
        # Where all are known, one byte says what a target is, and nobody looks for unknown ones again.
        y_BL = y_BL if known_entries(y_BL) is not None else is_true(y_BL)
        adding = [
            *self._adding(decisions_BL, scores_BL, given, y_BL, weight_B),
            *self._adding_levels(levels_BL, y_levels_BL, weight_B),
        ]
        # The parts have nothing in common, so each can have a thread; a small batch is sooner done without.
        if y_BL.is_cpu and y_BL.numel() >= CELLS:
            in_threads(operator.call, adding)
        else:
            for add in adding:
                add()

    def _adding(
        self,
        decisions_BL: Tensor,
        scores_BL: Tensor,
        given: Mapping[str, Tensor],
        y_BL: Tensor,
        weight_B: Tensor | None,
    ) -> Iterator[Callable[[], None]]:
        """For each part what adds a batch to it, the longest first."""
        if self._average_precision is not None:
            yield partial(self._average_precision.update, scores_BL, y_BL, weight_B)
        if self._ranking is not None:
            yield _add(self._ranking, ranking_sums, scores_BL, y_BL, self._ks, weight_B)
        for name, p_BL in given.items():
            yield _add(self._calibration[name], calibration_sums, p_BL, y_BL, weight_B)
        if self._log_loss is not None:
            yield _add(self._log_loss, log_loss_sums, given["calibrated"], y_BL, weight_B)
        yield _add(self._decisions, decision_sums, decisions_BL, y_BL, weight_B)

    def _adding_levels(
        self, levels_BL: Tensor | None, y_levels_BL: Tensor | None, weight_B: Tensor | None
    ) -> Iterator[Callable[[], None]]:
        """The same of levels, where labels have them."""
        if self._levels is not None:
            sums = partial(level_sums, n_levels=self._n_levels)
            yield _add(self._levels, sums, levels_BL, y_levels_BL, weight_B)

    def _note_divergence(self, scores_BL: Tensor) -> None:
        """Raise where a score is NaN; on CUDA `compute` does, for to look here would wait for the device."""
        if scores_BL.numel():
            self._diverged = self._diverged | scores_BL.amax().isnan()
        if scores_BL.is_cpu:
            self._stop_if_diverged()

    def _stop_if_diverged(self) -> None:
        if self._diverged:
            raise diverged()

    def _check(self, values: Sequence[Tensor], weight_B: Tensor | None) -> None:
        """The shapes of all there is for each entry, and of the weights."""
        shape = (len(values[0]), self._n_labels)
        if any(value.shape != shape for value in values):
            raise ValueError(f"decisions, scores, probabilities, targets and levels must have shape {shape}")
        if weight_B is not None and weight_B.shape != shape[:1]:
            raise ValueError(f"weights must have shape {shape[:1]}, got {tuple(weight_B.shape)}")

    def compute(self, *, merged: bool = False) -> SuiteResult:
        """The metrics of all batches since the last reset.

        Args:
            merged: of all processes together; each must call this, and gets the same result. Without it a
                process gets the metrics of its own batches.

        Raises:
            UserError: nothing is known of any row, or a score was NaN.
            ValueError: there were none.
        """
        self._stop_if_diverged()

        def result(part: Accumulator[R]) -> R:
            return part.merged() if merged else part.compute()

        decided = result(self._decisions)
        if decided.unlabelled_rows > 0 and decided.rows == 0:
            raise UserError("Every target of this split is unknown: metrics need rows with known labels.")
        if decided.rows == 0:
            raise ValueError("metrics of no rows are not defined: call update first")
        values: dict[str, float | None] = {**decision_metrics(decided)}
        per_label = label_decisions(decided)
        if self._ranking is not None:
            values |= ranking_metrics(result(self._ranking), self._ks)
        if self._log_loss is not None:
            values["log_loss"] = log_loss(result(self._log_loss))
        if self._levels is not None:
            values |= level_metrics(result(self._levels))
        calibration = {name: result(part) for name, part in self._calibration.items()}
        for name, sums in calibration.items():
            values |= {metric + _SUFFIX[name]: value for metric, value in calibration_metrics(sums).items()}
            per_label["ece" + _SUFFIX[name]] = label_calibration_error(sums)

        accumulator = self._average_precision
        average_precision = None if accumulator is None else result(accumulator)
        if average_precision is not None:
            per_label["ap"] = average_precision.ap_L
            values["map"] = label_mean(average_precision.ap_L)
        if average_precision is not None and self._mode == "streaming":
            per_label["ap_error_bound"] = average_precision.error_bound_L
            values["map_error_bound"] = label_mean(average_precision.error_bound_L)
        no_value = {name: why_none(name) for name in values if values[name] is None}
        return SuiteResult(
            values=values | dict.fromkeys(self._undefined),
            reasons=self._undefined | no_value,
            per_label=per_label,
            reliability={name: reliability(sums) for name, sums in calibration.items()},
            average_precision=average_precision,
        )


def _add(part: SumAccumulator[Any], sums: Callable[..., Any], *batch: Any) -> Callable[[], None]:
    """What adds the sums of a batch to a part."""
    return lambda: part.update(sums(*batch))


def diverged() -> Fault:
    """What is raised where a score is NaN."""
    return Fault(
        "the model's scores are NaN: training has diverged; start a new run with a lower optimizer.lr"
    )


def why_none(name: str) -> str:
    """Why a metric that could be had has no value on these rows."""
    if name == "level_quadratic_kappa":
        return "no label has rows of different levels"
    return "no label has a positive row"


def undefined_metrics(
    ks: Sequence[int], n_labels: int, no_probabilities: str | None, no_uncalibrated: str | None
) -> dict[str, str]:
    """The metrics that cannot be had, each with its reason; see `EvaluationSuite`."""
    reasons: dict[str, str] = {}
    for k in ks:
        if k > n_labels:
            why = f"there are only {n_labels} labels"
            reasons |= {f"precision_at_{k}": why, f"ndcg_at_{k}": why}
    if no_probabilities:
        reasons |= dict.fromkeys(("classwise_ece", "brier", "log_loss"), no_probabilities)
    if no_uncalibrated:
        reasons |= dict.fromkeys(("classwise_ece_uncalibrated", "brier_uncalibrated"), no_uncalibrated)
    return reasons
