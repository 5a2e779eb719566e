"""Metrics of decided label sets: everything follows from counts per label and sums over rows.

Where a denominator is 0 (a label or row with nothing true and nothing decided) precision, recall and F1 are
0, and the label or row counts in the mean, as in scikit-learn with zero_division=0. A label or row of which
nothing is known counts in no mean.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from mlc.metrics.blocks import in_threads, places
from mlc.metrics.weights import divide, is_true, known_entries, known_mean, only_known, total


class DecisionSums(NamedTuple):
    """What a batch adds to the metrics of decisions: int64, or float64 sums of the rows' weights.

    Args:
        tp_L: rows in which the label is decided and true.
        predicted_L: rows in which it is decided, and known.
        support_L: rows in which it is true.
        known_L: rows in which it is known.
        unknown: entries (of all rows and labels) that are unknown.
        samples_f1: sum over rows of the F1 of the row's set.
        exact_rows: rows whose set is decided without a fault.
        count_error: sum over rows of |labels decided - labels true|.
        empty_rows: rows for which nothing is decided.
        rows: number of rows with a known label; only these count above.
        unlabelled_rows: number of rows without.
    """

    tp_L: Tensor
    predicted_L: Tensor
    support_L: Tensor
    known_L: Tensor
    unknown: Tensor
    samples_f1: Tensor
    exact_rows: Tensor
    count_error: Tensor
    empty_rows: Tensor
    rows: Tensor
    unlabelled_rows: Tensor


class DecisionCounts(NamedTuple):
    """Counts of some labels of a few rows; of further labels of the same rows, those of the rows add up.

    Args:
        tp_L, predicted_L, support_L, known_L, unknown: see `DecisionSums`.
        tp_B: labels of the row that are decided and true.
        predicted_B: labels that are decided, and known.
        support_B: labels that are true.
        labelled_B: booleans, whether any label of the row is known.
    """

    tp_L: Tensor
    predicted_L: Tensor
    support_L: Tensor
    known_L: Tensor
    unknown: Tensor
    tp_B: Tensor
    predicted_B: Tensor
    support_B: Tensor
    labelled_B: Tensor


def decision_sums(decisions_BL: Tensor, y_BL: Tensor, weight_B: Tensor | None = None) -> DecisionSums:
    """Count what was decided against what is true.

    Args:
        decisions_BL: booleans.
        y_BL: targets: 0 or 1, NaN where unknown.
        weight_B: weights of the rows; None where all are 1.
    """
    return sums_of_counts(decision_counts(decisions_BL, y_BL, weight_B), weight_B)


def decision_counts(decisions_BL: Tensor, y_BL: Tensor, weight_B: Tensor | None = None) -> DecisionCounts:
    """Count what was decided against what is true, for each label and for each row; see `decision_sums`."""
    known_BL = known_entries(y_BL)
    true_BL = is_true(y_BL)
    if known_BL is None:
        labelled_B = true_BL.new_ones(len(y_BL))
        known_L = total(labelled_B, weight_B).repeat(y_BL.shape[1])
        unknown = known_L.new_zeros(())
    else:
        labelled_B = known_BL.any(1)
        known_L = total(known_BL, weight_B)
        unknown = total(~known_BL, weight_B).sum()
        decisions_BL = decisions_BL & known_BL
    counts = _counts(decisions_BL, true_BL, weight_B)
    (tp_L, tp_B), (predicted_L, predicted_B), (support_L, support_B) = counts
    return DecisionCounts(
        tp_L, predicted_L, support_L, known_L, unknown, tp_B, predicted_B, support_B, labelled_B
    )


def sums_of_counts(counts: DecisionCounts, weight_B: Tensor | None) -> DecisionSums:
    """What rows add to the metrics of decisions, from the counts of all their labels."""
    tp_B, predicted_B, support_B, labelled_B = counts[5:]
    return DecisionSums(
        tp_L=counts.tp_L,
        predicted_L=counts.predicted_L,
        support_L=counts.support_L,
        known_L=counts.known_L,
        unknown=counts.unknown,
        # Unlabelled rows have nothing true and nothing decided, which adds 0 to these two.
        samples_f1=total(_f1(tp_B, predicted_B, support_B), weight_B),
        count_error=total((predicted_B - support_B).abs(), weight_B),
        exact_rows=total((tp_B == predicted_B) & (tp_B == support_B) & labelled_B, weight_B),
        empty_rows=total((predicted_B == 0) & labelled_B, weight_B),
        rows=total(labelled_B, weight_B),
        unlabelled_rows=total(~labelled_B, weight_B),
    )


def _counts(decisions_BL: Tensor, true_BL: Tensor, weight_B: Tensor | None) -> list[tuple[Tensor, Tensor]]:
    """Rows (or the sum of their weights) with each label, and labels of each row: right, decided, true."""
    if not true_BL.is_cpu:
        masks = (decisions_BL & true_BL, decisions_BL, true_BL)
        return [(total(mask_BL, weight_B), mask_BL.sum(1)) for mask_BL in masks]
    # Few labels are true or decided: counting these takes less than a sum over all.
    decided_P, true_P = in_threads(places, (decisions_BL, true_BL))
    right_P = decided_P[true_BL.flatten()[decided_P]]
    return [_counts_at(place_P, true_BL.shape, weight_B) for place_P in (right_P, decided_P, true_P)]


def _counts_at(place_P: Tensor, shape: torch.Size, weight_B: Tensor | None) -> tuple[Tensor, Tensor]:
    """The same of some entries, by their places."""
    rows, n_labels = shape
    row_P = place_P // n_labels
    weight_P = None if weight_B is None else weight_B.double()[row_P]
    count_L = torch.bincount(place_P - row_P * n_labels, weights=weight_P, minlength=n_labels)
    return count_L, torch.bincount(row_P, minlength=rows)


def label_decisions(sums: DecisionSums) -> dict[str, Tensor]:
    """Precision, recall, F1, support and predicted rows of each label (columns of length L).

    Where something is unknown, also the rows in which the label is known.
    """
    ratios = {
        "precision": divide(sums.tp_L, sums.predicted_L),
        "recall": divide(sums.tp_L, sums.support_L),
        "f1": _f1(sums.tp_L, sums.predicted_L, sums.support_L),
    }
    columns = {name: only_known(ratio_L, sums.known_L) for name, ratio_L in ratios.items()}
    columns |= {"support": sums.support_L, "predicted": sums.predicted_L}
    return columns | ({"known": sums.known_L} if sums.unknown > 0 else {})


def decision_metrics(sums: DecisionSums) -> dict[str, float]:
    """Every metric of decisions.

    Micro pools the counts of all labels; macro is the mean over all L labels; samples is the mean over rows.

    Source: Tsoumakas, Katakis & Vlahavas, 2010, "Mining multi-label data", section 7.
    """
    tp, predicted, support = sums.tp_L.sum(), sums.predicted_L.sum(), sums.support_L.sum()
    per_label, entries = label_decisions(sums), sums.known_L.sum()
    values = {
        "micro_f1": _f1(tp, predicted, support),
        "macro_f1": known_mean(per_label["f1"], sums.known_L),
        "samples_f1": sums.samples_f1 / sums.rows,
        "micro_precision": divide(tp, predicted),
        "micro_recall": divide(tp, support),
        "macro_precision": known_mean(per_label["precision"], sums.known_L),
        "macro_recall": known_mean(per_label["recall"], sums.known_L),
        "hamming_loss": (predicted + support - 2 * tp).double() / entries,
        "subset_accuracy": sums.exact_rows.double() / sums.rows,
        "count_mae": sums.count_error.double() / sums.rows,
        "empty_fraction": sums.empty_rows.double() / sums.rows,
        "rows": sums.rows,
    }
    if sums.unknown > 0:
        values["unknown_fraction"] = sums.unknown.double() / (sums.unknown + entries)
        values["rows_without_known_labels"] = sums.unlabelled_rows
    return {name: float(value) for name, value in values.items()}


def _f1(tp: Tensor, predicted: Tensor, support: Tensor) -> Tensor:
    return divide(2 * tp, predicted + support)
