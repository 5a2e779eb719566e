"""Metrics of probabilities: calibration error, reliability diagrams, Brier score, log loss.

A score read as if it were a probability may lie outside 0..1: the outermost bin takes it, and its value
enters every sum as it is.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from mlc.metrics.blocks import above, in_threads, label_slices, places, row_slices
from mlc.metrics.weights import entry_weights, is_true, known_entries, known_mean, total

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
    if count_BL is None and p_BL.is_cpu and _is_mostly_low(p_BL):
        return _sums_of_mostly_low(p_BL, true_BL)
    return _sums_of_any(p_BL, true_BL, count_BL)


def _sums_of_any(p_BL: Tensor, true_BL: Tensor, count_BL: Tensor | None) -> CalibrationSums:
    """The sums, with what each entry counts; None where all count 1."""
    sums_3KL = p_BL.new_zeros(3, BINS, p_BL.shape[1], dtype=torch.float64)

    def block(labels: slice) -> Tensor:
        few_BL, y_BL = p_BL[:, labels].double(), true_BL[:, labels].double()
        one_BL = torch.ones_like(few_BL) if count_BL is None else count_BL[:, labels]
        bin_BL = _bin_of(p_BL[:, labels])
        values = (one_BL, few_BL * one_BL, y_BL * one_BL)
        for sums_KL, values_BL in zip(sums_3KL[:, :, labels], values, strict=True):
            sums_KL.scatter_add_(0, bin_BL, values_BL)
        return ((few_BL - y_BL).square_() * one_BL).sum()

    squared_error = torch.stack(in_threads(block, label_slices(p_BL))).sum()
    rows_KL, probability_KL, positives_KL = sums_3KL
    return CalibrationSums(rows_KL, probability_KL, positives_KL, squared_error)


def _is_mostly_low(p_BL: Tensor) -> bool:
    """Whether most entries are in the lowest bin, as with many labels; the first rows speak for all."""
    first_BL = p_BL[next(row_slices(p_BL))]
    return int(_above_lowest(first_BL).sum()) <= _FEW * first_BL.numel()


def _above_lowest(p_BL: Tensor) -> Tensor:
    """Which entries are not in the lowest bin; a few of those that are, too, which does no harm."""
    return above(p_BL, 1 / (BINS + 1))


def _sums_of_mostly_low(p_BL: Tensor, true_BL: Tensor) -> CalibrationSums:
    """The sums where each entry counts 1 and all are on the CPU; what has no bins costs a fifth."""

    def block(rows: slice) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        few_BL, before = p_BL[rows].double(), rows.start * p_BL.shape[1]
        squared = torch.dot(few_BL.flatten(), few_BL.flatten())
        high_P, true_P = places(_above_lowest(p_BL[rows])), places(true_BL[rows])
        return few_BL.sum(0), squared, high_P + before, true_P + before

    sums, squares, high, true = zip(*in_threads(block, row_slices(p_BL)), strict=True)
    high_P, true_P = torch.cat(high), torch.cat(true)
    rows_KL, probability_KL = _binned(p_BL, high_P, counts=True), _binned(p_BL, high_P, counts=False)
    rows_KL[0] += len(p_BL) - rows_KL.sum(0)
    probability_KL[0] += torch.stack(sums).sum(0) - probability_KL.sum(0)
    # (p - 1)² is p² + 1 - 2p, and most targets are 0.
    squared_error = torch.stack(squares).sum() + (1 - 2 * p_BL.flatten()[true_P].double()).sum()
    return CalibrationSums(rows_KL, probability_KL, _binned(p_BL, true_P, counts=True), squared_error)


def _binned(p_BL: Tensor, place_P: Tensor, *, counts: bool) -> Tensor:
    """BINS×L numbers of the probabilities at these places, or sums, in float64."""
    n_labels = p_BL.shape[1]
    p_P = p_BL.flatten()[place_P]
    values_P = torch.ones_like(p_P, dtype=torch.float64) if counts else p_P.double()
    sums = values_P.new_zeros(BINS * n_labels)
    return sums.index_add_(0, _bin_of(p_P) * n_labels + place_P % n_labels, values_P).view(BINS, n_labels)


def _bin_of(p: Tensor) -> Tensor:
    return (p * BINS).long().clamp_(0, BINS - 1)


def log_loss_sums(p_BL: Tensor, y_BL: Tensor, weight_B: Tensor | None = None) -> LogLossSums:
    """Sum the binary cross-entropy of the marginals; a known target costs at most 16.1 nats.

    Args:
        p_BL: marginals.
        y_BL: targets: 0 or 1, NaN where unknown.
        weight_B: weights of the rows; None where all are 1.
    """
    true_BL, known_BL = is_true(y_BL), known_entries(y_BL)

    def block(rows: slice) -> Tensor:
        given_BL = _given(p_BL[rows], true_BL[rows]).clamp_(min=SMALLEST_PROBABILITY)
        if known_BL is not None:
            given_BL.masked_fill_(~known_BL[rows], 1.0)
        return _nats(given_BL)

    nats_B = torch.cat(in_threads(block, row_slices(p_BL)))
    known_B = torch.full_like(nats_B, y_BL.shape[1]) if known_BL is None else known_BL.sum(1).double()
    return LogLossSums(nats=total(nats_B, weight_B), cells=total(known_B, weight_B))


def _given(p_BL: Tensor, true_BL: Tensor) -> Tensor:
    """The probability given to what happened."""
    if not p_BL.is_cpu:
        return torch.where(true_BL, p_BL, 1 - p_BL)
    given_BL, place_P = (1 - p_BL).contiguous(), places(true_BL)
    given_BL.view(-1)[place_P] = p_BL.flatten()[place_P]
    return given_BL


def _nats(given_BL: Tensor) -> Tensor:
    """The sum of -log of each row, in float64, of numbers from SMALLEST_PROBABILITY to 1.

    Four have one logarithm, that of their product, which float32 can hold (10^-28).
    """
    fourth = given_BL.shape[1] // 4
    product_BL = given_BL[:, : 4 * fourth].reshape(len(given_BL), 4, fourth).prod(1)
    factors_BL = torch.cat([product_BL, given_BL[:, 4 * fourth :]], dim=1)
    return -factors_BL.log_().sum(1, dtype=torch.float64)


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
