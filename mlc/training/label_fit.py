"""Fitting a calibrator and a decision rule on very many labels, some of them at a time.

What is fitted per label sees all rows of the label. What is fitted for all labels together, a temperature or
one threshold, comes from a histogram of all scores, which one pass fills.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from mlc.calibration.temperature import Temperature, fit_temperature
from mlc.decisions.thresholds import GlobalThreshold
from mlc.losses.base import Loss
from mlc.model import Classifier
from mlc.outputs.base import LabelOutput
from mlc.outputs.independent import IndependentLabels
from mlc.training.label_parts import of_labels
from mlc.training.label_predictions import LabelPredictions, Piece
from mlc.training.label_rules import FittedPerLabel

_ONE = 0x3F800000  # the bits of 1.0
_LOGIT_BITS = 12  # a bin of logits is 2^-12 wide at 0, and in proportion to 1 + |z| elsewhere
_LOGIT_BINS = 2**15  # on each side of 0; logits beyond ±255 share the last
_SCORE_SHIFT = 12  # of the 23 bits behind the leading one: 2^11 bins from each power of 2 to the next


@torch.no_grad()
def fit_by_label(classifier: Classifier, predictions: LabelPredictions) -> None:
    """Fit the calibrator, then the rule, with all rows; both are changed in place.

    Differs: the temperature is that of logits moved to the means of bins 2^-12 (1 + |z|) wide, which changes
        it by less than 1e-6; the one threshold of all labels lies between two of the 2^11 bins that scores
        have from each power of 2 to the next.
    """
    loss, calibrator, decision = classifier.loss, classifier.calibrator, classifier.decision
    if isinstance(calibrator, Temperature):
        calibrator.temperature.fill_(_temperature(predictions, loss))
    if isinstance(decision, GlobalThreshold):
        decision.threshold_L.fill_(_global_threshold(predictions, loss, calibrator))
    elif isinstance(decision, FittedPerLabel):
        for piece in predictions.pieces(loss):
            part = of_labels(decision, piece.labels)
            part.fit(calibrator(piece.linked), piece.y_NC, predictions.weight_N)


def _temperature(predictions: LabelPredictions, loss: Loss) -> float:
    """The temperature that fits the means of the bins, each counted as often as it has logits."""
    size = 2 * _LOGIT_BINS
    number_2K = torch.zeros(2, size, dtype=torch.float64, device=predictions.scores.device)
    sum_2K = torch.zeros_like(number_2K)
    for piece in predictions.pieces(loss):
        assert isinstance(piece.linked, IndependentLabels), "check_label_evaluation() asks for them"
        z_NC = piece.linked.logits_BL
        bin_NC, count_NC = _logit_bins(z_NC), _counts(piece, predictions)
        row_P, column_P = piece.true
        every = (bin_NC, z_NC, count_NC)
        true = (bin_NC[row_P, column_P], z_NC[row_P, column_P], _at(count_NC, row_P, column_P))
        for target, (bins, z, count) in enumerate((every, true)):
            number_2K[target] += _sums(bins, None, count, size)
            sum_2K[target] += _sums(bins, z, count, size)
    number_2K[0] -= number_2K[1]
    sum_2K[0] -= sum_2K[1]
    y_2K = torch.zeros_like(number_2K)
    y_2K[1] = 1
    there_2K = number_2K > 0
    mean_M1 = (sum_2K[there_2K] / number_2K[there_2K])[:, None]
    return fit_temperature(IndependentLabels(mean_M1), y_2K[there_2K][:, None], number_2K[there_2K])


def _logit_bins(z: Tensor) -> Tensor:
    """The bin of each logit, by the bits of 1 + |z|; int64."""
    size = ((z.abs() + 1).view(torch.int32) - _ONE) >> (23 - _LOGIT_BITS)
    return (size.clamp_(max=_LOGIT_BINS - 1) + _LOGIT_BINS * (z < 0)).long()


def _global_threshold(
    predictions: LabelPredictions, loss: Loss, calibrate: Callable[[LabelOutput], LabelOutput]
) -> float:
    """The threshold of the best micro-F1, of equally good ones the highest; without positives none passes."""
    size = (0x7F800000 >> _SCORE_SHIFT) + 1
    every_K = torch.zeros(size, dtype=torch.float64, device=predictions.scores.device)
    true_K = torch.zeros_like(every_K)
    for piece in predictions.pieces(loss):
        # The bits of a float32 that is not negative compare as its value does.
        score_NC = calibrate(piece.linked).scores().float()
        bin_NC = ((score_NC + 0.0).view(torch.int32) >> _SCORE_SHIFT).long()
        count_NC, (row_P, column_P) = _counts(piece, predictions), piece.true
        every_K += _sums(bin_NC, None, count_NC, size)
        true_K += _sums(bin_NC[row_P, column_P], None, _at(count_NC, row_P, column_P), size)
    bin_M = every_K.nonzero().squeeze(1).flip(0)  # from the highest
    decided_M, hits_M = every_K[bin_M].cumsum(0), true_K[bin_M].cumsum(0)
    f1_M = 2 * hits_M / (decided_M + true_K.sum())
    best = int(f1_M.argmax()) if len(bin_M) else 0
    if not len(bin_M) or float(f1_M[best]) == 0:
        return float(_scores_of(bin_M[:1] + 1)) if len(bin_M) else torch.inf
    below = bin_M[best + 1] + 1 if best + 1 < len(bin_M) else bin_M[best]
    edge, under = _scores_of(bin_M[best]), _scores_of(below)
    just_below = edge.nextafter(edge.new_tensor(-torch.inf))
    return float(torch.minimum((edge.double() + under.double()).div(2).float(), just_below))


def _scores_of(bins: Tensor) -> Tensor:
    """The lowest score of a bin."""
    return (bins << _SCORE_SHIFT).to(torch.int32).view(torch.float32)


def _counts(piece: Piece, predictions: LabelPredictions) -> Tensor | None:
    """N×C float64 numbers of times that an entry counts, 0 where it is unknown; None where all count once."""
    weight_N = predictions.weight_N
    if predictions.targets.all_known and weight_N is None:
        return None
    known_NC = (~piece.y_NC.isnan()).double()
    return known_NC if weight_N is None else known_NC * weight_N.double()[:, None]


def _at(count_NC: Tensor | None, row_P: Tensor, column_P: Tensor) -> Tensor | None:
    return None if count_NC is None else count_NC[row_P, column_P]


def _sums(bins: Tensor, values: Tensor | None, count: Tensor | None, size: int) -> Tensor:
    """For each bin the sum of its values times their counts; of the counts where there are no values."""
    weights = values.double() if values is not None else None
    if count is not None:
        weights = count if weights is None else weights * count
    return torch.bincount(
        bins.flatten(), weights=None if weights is None else weights.flatten(), minlength=size
    ).double()
