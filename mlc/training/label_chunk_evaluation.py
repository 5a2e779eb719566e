"""Measuring a split with very many labels: every metric of the suite, piece by piece of the labels.

Seen from a label nothing changes, because a piece has all rows: counts, average precision and calibration
error are those of the whole. What belongs to a row (its F1, how many labels stand above a true one) is a sum
over the pieces. So nothing is left out and nothing is approximated; only float32 sums over labels, in the
loss and the likelihood, are added up in another order.
"""

import torch
from torch import Tensor

from mlc.errors import UserError
from mlc.metrics.average_precision import AveragePrecision, average_precision, concatenated, label_mean
from mlc.metrics.calibration import (
    CalibrationSums,
    Reliability,
    calibration_metrics,
    calibration_sums,
    label_calibration_error,
    log_loss,
    log_loss_sums,
    reliability,
)
from mlc.metrics.decisions import (
    DecisionCounts,
    decision_counts,
    decision_metrics,
    label_decisions,
    sums_of_counts,
)
from mlc.metrics.ranking import ranking_metrics, sums_of_ranks
from mlc.metrics.suite import SuiteResult, undefined_metrics, why_none
from mlc.metrics.weights import known_mean
from mlc.model import Classifier
from mlc.outputs.base import LabelOutput, NotDefinedError
from mlc.training.evaluation import Evaluation, RowMean, marginals_of
from mlc.training.label_predictions import LabelPredictions, Piece
from mlc.training.label_ranks import LabelRanks
from mlc.training.label_rules import piece_rule

_KS = (1, 3, 5)
_MOST_CURVES = 10_000  # labels up to which precision-recall curves are kept: a curve takes 1.6 kB


@torch.no_grad()
def evaluate_by_label(
    classifier: Classifier,
    predictions: LabelPredictions,
    *,
    ranking: bool = True,
    average_precision: bool = True,
) -> Evaluation:
    """Measure a split: link, calibrate, decide, count.

    Args:
        classifier: with its calibrator and decision fitted.
        predictions: of the split.
        ranking, average_precision: whether to compute these two costly families.
    """
    rule = piece_rule(predictions.scores, classifier)
    ranks = _look(classifier, predictions) if ranking else None
    measure = _Measure(classifier, predictions, average_precision=average_precision)
    for piece in predictions.pieces(classifier.loss):
        calibrated = classifier.calibrator(piece.linked)
        measure.add(piece, calibrated, rule.decides(piece.number, calibrated))
        if ranks is not None:
            ranks.count(calibrated.score_logits(), predictions.targets.unknown(piece.number))
    return measure.evaluation(ranks)


def _look(classifier: Classifier, predictions: LabelPredictions) -> LabelRanks:
    """A pass for the scores of the true labels."""
    ranks = LabelRanks(predictions.rows, predictions.scores.device)
    for piece in predictions.pieces(classifier.loss):
        ranks.look(piece, classifier.calibrator(piece.linked).score_logits())
    ranks.looked()
    return ranks


class _Measure:
    """What the pieces of a split add up to."""

    def __init__(self, classifier: Classifier, predictions: LabelPredictions, *, average_precision: bool):
        example = classifier.calibrator(classifier.loss.link(predictions.example()))
        self._predictions = predictions
        self._no_probabilities = marginals_of(example)[1]
        self._no_nll = _why_no_nll(example)
        self._counts = _Counts()
        self._log_loss = None if self._no_probabilities else log_loss_sums(*_nothing(predictions))
        self._calibrated = None if self._no_probabilities else _Calibration()
        self._uncalibrated = _Calibration()
        self._average_precision: list[AveragePrecision] | None = [] if average_precision else None
        beside_N = predictions.loss_beside_labels(classifier.loss)
        self._loss_N = beside_N.double()
        self._nll_N = torch.zeros_like(self._loss_N)

    def add(self, piece: Piece, calibrated: LabelOutput, decided_NC: Tensor) -> None:
        """Add some labels of all rows."""
        y_NC, weight_N, scores_NC = piece.y_NC, self._predictions.weight_N, calibrated.score_logits()
        self._loss_N += piece.loss_N
        if self._no_nll is None:
            self._nll_N -= calibrated.log_prob(y_NC)
        self._counts.add(decision_counts(decided_NC, y_NC, weight_N))
        self._uncalibrated.add(calibration_sums(piece.linked.scores(), y_NC, weight_N))
        if self._calibrated is not None and self._log_loss is not None:
            p_NC = calibrated.marginals()
            self._calibrated.add(calibration_sums(p_NC, y_NC, weight_N))
            sums = log_loss_sums(p_NC, y_NC, weight_N)
            self._log_loss = type(sums)(*(a + b for a, b in zip(self._log_loss, sums, strict=True)))
        if self._average_precision is not None:
            found = _average_precision(scores_NC, y_NC, weight_N)
            if self._predictions.n_labels > _MOST_CURVES:
                none_C0 = scores_NC.new_empty(scores_NC.shape[1], 0)  # a slice would keep what it is cut from
                found = found._replace(precision_LC=none_C0, recall_LC=none_C0)
            self._average_precision.append(found)

    def evaluation(self, ranks: LabelRanks | None) -> Evaluation:
        """The metrics of all labels."""
        weight_N, n_labels = self._predictions.weight_N, self._predictions.n_labels
        decided = sums_of_counts(self._counts.counts(), weight_N)
        decided = type(decided)(*(value.cpu() for value in decided))
        if decided.rows == 0:
            raise UserError("Every target of this split is unknown: metrics need rows with known labels.")
        values: dict[str, float | None] = {**decision_metrics(decided)}
        per_label = label_decisions(decided)
        if ranks is not None:
            ks = [k for k in _KS if k <= n_labels]
            values |= ranking_metrics(sums_of_ranks(ranks.ranks(), n_labels, ks, self._ranking_weights()), ks)
        if self._log_loss is not None:
            values["log_loss"] = log_loss(self._log_loss)
        diagrams = {}
        for name, part in (("calibrated", self._calibrated), ("uncalibrated", self._uncalibrated)):
            if part is not None:
                suffix = "" if name == "calibrated" else "_uncalibrated"
                values |= {metric + suffix: value for metric, value in part.metrics().items()}
                per_label["ece" + suffix] = part.ece_L()
                diagrams[name] = part.diagram()
        curves = None
        if self._average_precision is not None:
            curves = concatenated(self._average_precision)
            curves = AveragePrecision(*(value.cpu() for value in curves))
            per_label["ap"], values["map"] = curves.ap_L, label_mean(curves.ap_L)
        undefined = undefined_metrics(
            _KS if ranks is not None else (), n_labels, self._no_probabilities, None
        )
        reasons = undefined | {name: why_none(name) for name in values if values[name] is None}
        suite = SuiteResult(
            values=values | dict.fromkeys(undefined),
            reasons=reasons,
            per_label=per_label,
            reliability=diagrams,
            average_precision=curves if n_labels <= _MOST_CURVES else None,
        )
        return self._with_means(suite)

    def _with_means(self, suite: SuiteResult) -> Evaluation:
        """The evaluation: the suite, and the means of loss and likelihood over rows."""
        loss, nll, row_weight_N = RowMean(), RowMean(), self._row_weights()
        loss.add(self._loss_N * row_weight_N, row_weight_N)
        nll.add(self._nll_N * row_weight_N, row_weight_N)
        why_no_nll = {} if self._no_nll is None else {"nll": self._no_nll}
        metrics = {"loss": loss.value, "nll": None if why_no_nll else nll.value, **suite.values}
        return Evaluation(metrics=metrics, reasons={**suite.reasons, **why_no_nll}, suite=suite)

    def _row_weights(self) -> Tensor:
        """N float64 weights; a row without any known label weighs nothing."""
        known_N, weight_N = self._predictions.known_N.double(), self._predictions.weight_N
        return known_N if weight_N is None else known_N * weight_N

    def _ranking_weights(self) -> Tensor | None:
        """The same; None where all are 1."""
        every_counts = self._predictions.weight_N is None and bool(self._predictions.known_N.all())
        return None if every_counts else self._row_weights()


class _Counts:
    """Counts of labels, piece after piece, and of rows, added up."""

    def __init__(self) -> None:
        self._of_labels: list[list[Tensor]] = [[] for _ in range(4)]
        self._of_rows: list[Tensor] | None = None
        self._labelled_N = torch.zeros(())

    def add(self, counts: DecisionCounts) -> None:
        for columns, column_C in zip(self._of_labels, counts[:4], strict=True):
            columns.append(column_C)
        if self._of_rows is None:
            self._of_rows, self._labelled_N = list(counts[4:8]), counts.labelled_B
            return
        self._of_rows = [mine + theirs for mine, theirs in zip(self._of_rows, counts[4:8], strict=True)]
        self._labelled_N = self._labelled_N | counts.labelled_B

    def counts(self) -> DecisionCounts:
        assert self._of_rows is not None, "there is a label"
        columns = [torch.cat(parts) for parts in self._of_labels]
        return DecisionCounts._make([*columns, *self._of_rows, self._labelled_N])


class _Calibration:
    """Calibration error of each label, and the bins of all labels together."""

    def __init__(self) -> None:
        self._ece: list[Tensor] = []
        self._known: list[Tensor] = []
        self._pooled: CalibrationSums | None = None

    def add(self, sums: CalibrationSums) -> None:
        self._ece.append(label_calibration_error(sums))
        self._known.append(sums.rows_KL.sum(0))
        here = [*(value_KL.sum(1, keepdim=True) for value_KL in sums[:3]), sums.squared_error]
        if self._pooled is not None:
            here = [mine + theirs for mine, theirs in zip(self._pooled, here, strict=True)]
        self._pooled = CalibrationSums._make(here)

    def ece_L(self) -> Tensor:  # noqa: N802 - the shape suffix
        return torch.cat(self._ece).cpu()

    def metrics(self) -> dict[str, float]:
        assert self._pooled is not None, "there is a label"
        error = float(known_mean(torch.cat(self._ece), torch.cat(self._known)))
        return calibration_metrics(self._pooled) | {"classwise_ece": error}

    def diagram(self) -> Reliability:
        """Of all labels; the diagrams of single labels are left out, as 45 numbers for each of very many."""
        assert self._pooled is not None, "there is a label"
        pooled = CalibrationSums(*(value.cpu() for value in self._pooled))
        return reliability(pooled)


def _average_precision(scores_NC: Tensor, y_NC: Tensor, weight_N: Tensor | None) -> AveragePrecision:
    """Of the labels that have a positive row; of very many labels most have none, and nothing is sorted."""
    some_C = (y_NC > 0).any(0)
    some_C[:1] |= ~some_C.any()  # one at least, for the shapes
    found = average_precision([scores_NC[:, some_C]], [y_NC[:, some_C]], weight_N)
    return AveragePrecision(*(_spread(values, some_C) for values in found))


def _spread(values: Tensor, some_C: Tensor) -> Tensor:
    """The values at the labels that have some, NaN elsewhere."""
    spread = values.new_full((len(some_C), *values.shape[1:]), torch.nan)
    spread[some_C] = values
    return spread


def _nothing(predictions: LabelPredictions) -> tuple[Tensor, Tensor]:
    none_01 = torch.zeros(0, 1, device=predictions.scores.device)
    return none_01, none_01


def _why_no_nll(example: LabelOutput) -> str | None:
    try:
        example.log_prob(torch.zeros_like(example.scores()))
    except NotDefinedError as error:
        return str(error)
    return None
