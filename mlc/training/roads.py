"""The two roads of an evaluation: by rows, and by labels where these are very many.

Both end in the same `Evaluation`. The road by rows runs the network batch after batch and has all labels of a
row; the road by labels keeps the features of all rows and has all rows of a label.
"""

from mlc.data.dataset import Split
from mlc.model import Classifier, Network
from mlc.training import evaluation
from mlc.training.evaluation import Evaluation, Fit, Predictions
from mlc.training.label_chunk_evaluation import evaluate_by_label
from mlc.training.label_fit import fit_by_label
from mlc.training.label_predictions import LabelPredictions, predict_by_label
from mlc.training.settings import TrainerSettings

AnyPredictions = Predictions | LabelPredictions


def predict_split(network: Network, split: Split, settings: TrainerSettings, device: str) -> AnyPredictions:
    """Outputs for every row of a split; by labels with `trainer.label_chunk`."""
    if settings.label_chunk is None:
        return evaluation.predict_split(network, split, settings, device)
    return predict_by_label(network, split, settings, device)


def fit_on_validation(
    classifier: Classifier, predictions: AnyPredictions, *, memory_limit_mb: float, separate: bool = False
) -> Fit:
    """Fit the calibrator, then the decision rule; see `mlc.training.evaluation`."""
    if isinstance(predictions, Predictions):
        return evaluation.fit_on_validation(
            classifier, predictions, memory_limit_mb=memory_limit_mb, separate=separate
        )
    fit_by_label(classifier, predictions)
    linked = classifier.loss.link(predictions.example())
    return evaluation.fit_of(
        classifier,
        fitted_rows=predictions.rows,
        rows=predictions.rows,
        separate=separate,
        score_is_probability=evaluation.marginals_of(linked)[0] is not None,
    )


def evaluate(
    classifier: Classifier,
    predictions: AnyPredictions,
    *,
    ranking: bool = True,
    average_precision: bool = True,
) -> Evaluation:
    """Measure a split; see `mlc.training.evaluation`."""
    if isinstance(predictions, Predictions):
        return evaluation.evaluate(
            classifier, predictions, ranking=ranking, average_precision=average_precision
        )
    return evaluate_by_label(classifier, predictions, ranking=ranking, average_precision=average_precision)
