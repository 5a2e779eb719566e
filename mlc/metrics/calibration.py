"""Metrics of probabilities: calibration error, reliability diagrams, Brier score, log loss.

A score read as if it were a probability may lie outside 0..1: the outermost bin takes it, and its value
enters every sum as it is.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from mlc.metrics.blocks import places, row_slices
from mlc.metrics.weights import entry_weights, grand_total, is_true, known_mean

BINS = 15
# A probability given to what happened counts as no less than this, so that log loss stays finite.
SMALLEST_PROBABILITY = 1e-7
# Entries that are gathered one by one cost about this share of what all entries cost.
_FEW = 1 / 8


class CalibrationSums(NamedTuple):
    """What a batch adds to the calibration metrics (float64), each entry times its row's weight.

    Args:
        rows_KL: known rows in each of the BINS bins, per label.
        probability_KL: sum of their probabilities.
        positives_KL: sum of their targets.
        squared_error: sum of (p - y)² over known targets.
    """

    rows_KL: Tensor
    probability_KL: Tensor
    positives_KL: Tensor
    squared_error: Tensor


class LogLossSums(NamedTuple):
    """What a batch adds to the log loss.

    Args:
        nats: sum over known targets of -log(probability given to what happened), float64.
        cells: number of known targets.
    """

    nats: Tensor
    cells: Tensor


class ReliabilityBins(NamedTuple):
    """Points of a reliability diagram.

    Args:
        rows: rows in each bin.
        probability: mean probability in each bin, NaN where it is empty.
        frequency: share of positives in each bin, NaN where it is empty.
    """

    rows: Tensor
    probability: Tensor
    frequency: Tensor


class Reliability(NamedTuple):
    """Reliability diagram of all labels together (length K) and of each label (L×K)."""

    overall: ReliabilityBins
    per_label: ReliabilityBins


def calibration_sums(p_BL: Tensor, y_BL: Tensor, weight_B: Tensor | None = None) -> CalibrationSums:
    """Sum probabilities and targets per label and bin: [0, 1/K), [1/K, 2/K), .. [1 - 1/K, 1].

    Args:
        p_BL: probabilities.
        y_BL: targets: 0 or 1, NaN where unknown.
        weight_B: weights of the rows; None where all are 1.
    """
    true_BL, count_BL = is_true(y_BL), entry_weights(y_BL, weight_B)
    sums_3KL = p_BL.new_zeros(3, BINS, p_BL.shape[1], dtype=torch.float64)
    squared_error = sums_3KL.new_zeros(())
    for rows in row_slices(p_BL):
        few_BL = None if count_BL is None else count_BL[rows]
        if few_BL is None and p_BL.is_cpu:
            place_P = places(true_BL[rows])
            # (p - 1)² is p² + 1 - 2p: most targets are 0, and what all entries cost is one pass.
            squared_error += torch.linalg.vector_norm(p_BL[rows], dtype=torch.float64).square()
            squared_error += (1 - 2 * p_BL[rows].flatten()[place_P].double()).sum()
            if _add_mostly_low(sums_3KL, p_BL[rows], place_P):
                continue
        else:
            error_BL = p_BL[rows].double() - true_BL[rows].double()
            squared_error += grand_total(error_BL.square_(), few_BL)
        _add_any(sums_3KL, p_BL[rows], true_BL[rows], few_BL)
    rows_KL, probability_KL, positives_KL = sums_3KL
    return CalibrationSums(rows_KL, probability_KL, positives_KL, squared_error)


def _add_any(sums_3KL: Tensor, p_BL: Tensor, true_BL: Tensor, count_BL: Tensor | None) -> None:
    """Add rows, probability and positives of each bin, in place."""
    bin_BL = _bin_of(p_BL)
    count_BL = sums_3KL.new_ones(()).expand(bin_BL.shape) if count_BL is None else count_BL
    values = (count_BL, p_BL.double() * count_BL, true_BL * count_BL)
    for sums_KL, values_BL in zip(sums_3KL, values, strict=True):
        sums_KL.scatter_add_(0, bin_BL, values_BL)


def _add_mostly_low(sums_3KL: Tensor, p_BL: Tensor, true_P: Tensor) -> bool:
    """The same where most entries are in the lowest bin, as with many labels; else it adds nothing: False.

    What is summed without bins costs a fifth. Each entry counts 1, all are on the CPU, and the positives are
    at these places.
    """
    high_P = places(p_BL * BINS >= 1)
    if len(high_P) > _FEW * p_BL.numel():
        return False
    n_labels = p_BL.shape[1]
    p_P, label_P = p_BL.flatten()[high_P].double(), high_P % n_labels
    at_P = _bin_of(p_BL.flatten()[high_P]) * n_labels + label_P
    rows, probability, positives = sums_3KL.view(3, -1)
    rows.index_add_(0, at_P, rows.new_ones(()).expand(at_P.shape))
    probability.index_add_(0, at_P, p_P)
    sums_3KL[0, 0] += len(p_BL) - torch.bincount(label_P, minlength=n_labels)
    sums_3KL[1, 0] += p_BL.sum(0, dtype=torch.float64).index_add_(0, label_P, p_P, alpha=-1)
    at_P = _bin_of(p_BL.flatten()[true_P]) * n_labels + true_P % n_labels
    positives.index_add_(0, at_P, positives.new_ones(()).expand(at_P.shape))
    return True


def _bin_of(p: Tensor) -> Tensor:
    return (p * BINS).long().clamp_(0, BINS - 1)


def log_loss_sums(p_BL: Tensor, y_BL: Tensor, weight_B: Tensor | None = None) -> LogLossSums:
    """Sum the binary cross-entropy of the marginals; a known target costs at most 16.1 nats.

    Args:
        p_BL: marginals.
        y_BL: targets: 0 or 1, NaN where unknown.
        weight_B: weights of the rows; None where all are 1.
    """
    true_BL, count_BL = is_true(y_BL), entry_weights(y_BL, weight_B)
    nats = p_BL.new_zeros((), dtype=torch.float64)
    for rows in row_slices(p_BL):
        given_BL = torch.where(true_BL[rows], p_BL[rows], 1 - p_BL[rows]).clamp_(min=SMALLEST_PROBABILITY)
        nats -= grand_total(given_BL.log_(), None if count_BL is None else count_BL[rows])
    return LogLossSums(nats=nats, cells=nats.new_tensor(p_BL.numel()) if count_BL is None else count_BL.sum())


def log_loss(sums: LogLossSums) -> float:
    """Log loss of the marginals: mean over the known targets of all rows and labels, in nats."""
    return float(sums.nats / sums.cells)


def label_calibration_error(sums: CalibrationSums) -> Tensor:
    """Expected calibration error of each label, L values: Σ_b (n_b / N) |frequency_b - mean probability_b|.

    N are the rows in which the label is known; it is NaN where there are none.

    Source: Naeini, Cooper & Hauskrecht, 2015; Guo et al., 2017, eq. 3, with the label's frequency for
        their accuracy.
    """
    # n_b cancels: n_b |Σy/n_b - Σp/n_b| = |Σy - Σp|.
    gap_L = (sums.positives_KL - sums.probability_KL).abs().sum(0)
    return gap_L / sums.rows_KL.sum(0)


def calibration_metrics(sums: CalibrationSums) -> dict[str, float]:
    """Class-wise ECE (mean over labels) and Brier score (mean over known targets of (p - y)²).

    Source: Kull et al., 2019 (class-wise ECE); Brier, 1950.
    Differs: Brier sums over the two outcomes of an event, which doubles the value given here.
    """
    return {
        "classwise_ece": float(known_mean(label_calibration_error(sums), sums.rows_KL.sum(0))),
        "brier": float(sums.squared_error / sums.rows_KL.sum()),
    }


def reliability(sums: CalibrationSums) -> Reliability:
    """The points of the reliability diagrams."""
    columns = (sums.rows_KL, sums.probability_KL, sums.positives_KL)
    return Reliability(
        overall=_bins(*(values_KL.sum(1) for values_KL in columns)),
        per_label=_bins(*(values_KL.T for values_KL in columns)),
    )


def _bins(rows: Tensor, probability: Tensor, positives: Tensor) -> ReliabilityBins:
    return ReliabilityBins(rows=rows, probability=probability / rows, frequency=positives / rows)
