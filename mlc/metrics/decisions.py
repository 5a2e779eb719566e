"""Metrics of decided label sets: everything follows from counts per label and sums over rows.

Where a denominator is 0 (a label or row with nothing true and nothing decided) precision, recall and F1 are
0, and the label or row counts in the mean, as in scikit-learn with zero_division=0.
"""

from typing import NamedTuple

from torch import Tensor


class DecisionSums(NamedTuple):
    """What a batch adds to the metrics of decisions.

    Args:
        tp_L: rows in which the label is decided and true.
        predicted_L: rows in which it is decided.
        support_L: rows in which it is true.
        samples_f1: sum over rows of the F1 of the row's set.
        exact_rows: rows whose set is decided without a fault.
        count_error: sum over rows of |labels decided - labels true|.
        empty_rows: rows for which nothing is decided.
        rows: number of rows.
    """

    tp_L: Tensor
    predicted_L: Tensor
    support_L: Tensor
    samples_f1: Tensor
    exact_rows: Tensor
    count_error: Tensor
    empty_rows: Tensor
    rows: Tensor


def decision_sums(decisions_BL: Tensor, y_BL: Tensor) -> DecisionSums:
    """Count what was decided (B×L booleans) against what is true (B×L, 0 or 1)."""
    true_BL = y_BL.bool()
    hit_BL = decisions_BL & true_BL
    tp_B, predicted_B, support_B = hit_BL.sum(1), decisions_BL.sum(1), true_BL.sum(1)
    return DecisionSums(
        tp_L=hit_BL.sum(0),
        predicted_L=decisions_BL.sum(0),
        support_L=true_BL.sum(0),
        samples_f1=_f1(tp_B, predicted_B, support_B).sum(),
        exact_rows=((tp_B == predicted_B) & (tp_B == support_B)).sum(),
        count_error=(predicted_B - support_B).abs().sum(),
        empty_rows=(predicted_B == 0).sum(),
        rows=predicted_B.new_tensor(len(predicted_B)),
    )


def label_decisions(sums: DecisionSums) -> dict[str, Tensor]:
    """Precision, recall, F1, support and predicted rows of each label (columns of length L)."""
    return {
        "precision": _ratio(sums.tp_L, sums.predicted_L),
        "recall": _ratio(sums.tp_L, sums.support_L),
        "f1": _f1(sums.tp_L, sums.predicted_L, sums.support_L),
        "support": sums.support_L,
        "predicted": sums.predicted_L,
    }


def decision_metrics(sums: DecisionSums) -> dict[str, float]:
    """Every metric of decisions.

    Micro pools the counts of all labels; macro is the mean over all L labels; samples is the mean over rows.

    Source: Tsoumakas, Katakis & Vlahavas, 2010, "Mining multi-label data", section 7.
    """
    tp, predicted, support = sums.tp_L.sum(), sums.predicted_L.sum(), sums.support_L.sum()
    per_label = label_decisions(sums)
    values = {
        "micro_f1": _f1(tp, predicted, support),
        "macro_f1": per_label["f1"].mean(),
        "samples_f1": sums.samples_f1 / sums.rows,
        "micro_precision": _ratio(tp, predicted),
        "micro_recall": _ratio(tp, support),
        "macro_precision": per_label["precision"].mean(),
        "macro_recall": per_label["recall"].mean(),
        "hamming_loss": (predicted + support - 2 * tp).double() / (sums.rows * len(sums.tp_L)),
        "subset_accuracy": sums.exact_rows.double() / sums.rows,
        "count_mae": sums.count_error.double() / sums.rows,
        "empty_fraction": sums.empty_rows.double() / sums.rows,
        "rows": sums.rows,
    }
    return {name: float(value) for name, value in values.items()}


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    # part <= whole, so where the whole is 0 the ratio is 0/1.
    return part.double() / whole.clamp(min=1)


def _f1(tp: Tensor, predicted: Tensor, support: Tensor) -> Tensor:
    return _ratio(2 * tp, predicted + support)
