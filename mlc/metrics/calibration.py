"""Metrics of probabilities: calibration error, reliability diagrams, Brier score, log loss.

A score read as if it were a probability may lie outside 0..1: the outermost bin takes it, and its value
enters every sum as it is.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from mlc.metrics.blocks import CELLS, count_true, slices
from mlc.metrics.weights import entry_weights, grand_total, is_true, known_mean

BINS = 15
# A probability given to what happened counts as no less than this, so that log loss stays finite.
SMALLEST_PROBABILITY = 1e-7


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
    # Some labels at a time, so that their few bins stay in the cache.
    blocks = [
        _bin_labels(p_BL[:, labels], true_BL[:, labels], None if count_BL is None else count_BL[:, labels])
        for labels in slices(p_BL.shape[1], CELLS // max(1, len(p_BL)))
    ]
    rows_LK, probability_LK, positives_LK, squared_error = zip(*blocks, strict=True)
    return CalibrationSums(
        rows_KL=torch.cat(rows_LK).T,
        probability_KL=torch.cat(probability_LK).T,
        positives_KL=torch.cat(positives_LK).T,
        squared_error=torch.stack(squared_error).sum(),
    )


def _bin_labels(
    p_BL: Tensor, true_BL: Tensor, count_BL: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rows, probability and positives of a few labels (L×BINS), and their squared error."""
    p_LB, count_LB = p_BL.T.contiguous(), None if count_BL is None else count_BL.T.contiguous()
    bin_LB = (p_LB * BINS).long().clamp_(0, BINS - 1)
    zero_LK = p_LB.new_zeros(len(p_LB), BINS, dtype=torch.float64)
    one_LB = zero_LK.new_ones(()).expand(bin_LB.shape) if count_LB is None else count_LB
    probability_LB = p_LB.double() if count_LB is None else p_LB * count_LB
    rows_LK = zero_LK.scatter_add(1, bin_LB, one_LB)
    probability_LK = zero_LK.scatter_add(1, bin_LB, probability_LB)
    count_true(zero_LK, bin_LB, true_BL, count_LB)
    error_BL = torch.where(true_BL, 1 - p_BL, p_BL).square_()
    return rows_LK, probability_LK, zero_LK, grand_total(error_BL, count_BL)


def log_loss_sums(p_BL: Tensor, y_BL: Tensor, weight_B: Tensor | None = None) -> LogLossSums:
    """Sum the binary cross-entropy of the marginals; a known target costs at most 16.1 nats.

    Args:
        p_BL: marginals.
        y_BL: targets: 0 or 1, NaN where unknown.
        weight_B: weights of the rows; None where all are 1.
    """
    given_BL = torch.where(is_true(y_BL), p_BL, 1 - p_BL).clamp_(min=SMALLEST_PROBABILITY)
    count_BL = entry_weights(y_BL, weight_B)
    nats = -grand_total(given_BL.log_(), count_BL)
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
