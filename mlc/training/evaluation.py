"""Running a network over a split, fitting what is fitted there, and measuring."""

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mlc.data.dataset import Split
from mlc.model import Classifier, Network
from mlc.outputs.base import LabelOutput, NotDefinedError, concatenate
from mlc.training.settings import TrainerSettings, uses_bf16

if TYPE_CHECKING:
    # Imports torchmetrics, which takes a second: at run time only the first evaluation pays for it.
    from mlc.metrics.suite import SuiteResult


@dataclass(frozen=True)
class Predictions:
    """What a network says about a split: raw outputs and targets.

    Args:
        chunks: makes a fresh iterator of (raw output, targets).
        rows: number of examples N.
        n_labels: number of labels L.
        kept: True where the outputs are kept in memory; False where each pass runs the network again.
        why: one sentence on which, and why.
    """

    chunks: Callable[[], Iterator[tuple[LabelOutput, Tensor]]]
    rows: int
    n_labels: int
    kept: bool
    why: str


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one split.

    Args:
        metrics: value by name; None where the model does not define it.
        reasons: why, for each None.
        suite: the full result: per-label table, reliability, precision-recall curves.
    """

    metrics: Mapping[str, float | None]
    reasons: Mapping[str, str]
    suite: "SuiteResult"

    @property
    def defined(self) -> dict[str, float]:
        """The metrics that have a value."""
        return {name: value for name, value in self.metrics.items() if value is not None}


@dataclass(frozen=True)
class Fit:
    """What was fitted on validation data, and how.

    Args:
        sentence: on how many rows, and what else these rows decided.
        score_is_probability: whether the output has marginals before any calibration.
    """

    sentence: str
    score_is_probability: bool


def predict_split(network: Network, split: Split, settings: TrainerSettings, device: str) -> Predictions:
    """Outputs for every row of a split, kept where the scores fit `memory_limit_mb`."""
    from mlc.metrics.suite import choose_mode

    bf16 = uses_bf16(settings.precision, device)
    n_labels = split.y_NL.shape[1]
    mode, why = choose_mode(len(split), n_labels, memory_limit_mb=settings.memory_limit_mb)

    def run() -> Iterator[tuple[LabelOutput, Tensor]]:
        return run_network(network, split, batch_size=settings.eval_batch_size, bf16=bf16)

    if mode == "streaming":
        return Predictions(run, rows=len(split), n_labels=n_labels, kept=False, why=why)
    outputs, targets = zip(*run(), strict=True)
    whole = (concatenate(outputs), torch.cat(targets))
    return Predictions(lambda: iter([whole]), rows=len(split), n_labels=n_labels, kept=True, why=why)


@torch.no_grad()
def run_network(
    network: Network, split: Split, *, batch_size: int, bf16: bool
) -> Iterator[tuple[LabelOutput, Tensor]]:
    """Raw outputs and targets of a split, batch by batch, in its own order."""
    was_training = network.training
    network.eval()
    rows_N = torch.arange(len(split), device=split.y_NL.device)
    for rows_B in rows_N.split(batch_size):
        batch = split.select(rows_B)
        yield forward(network, batch.inputs, bf16=bf16), batch.y_BL
    network.train(was_training)


def forward(network: Network, inputs: Mapping[str, Tensor], *, bf16: bool) -> LabelOutput:
    """The network's output; with bf16 the layers run under autocast and the output is float32 again."""
    if not bf16:
        output: LabelOutput = network(inputs)
        return output
    with torch.autocast(next(iter(inputs.values())).device.type, dtype=torch.bfloat16):
        output = network(inputs)
    return output.map_tensors(Tensor.float)


@torch.no_grad()
def fit_on_validation(classifier: Classifier, predictions: Predictions, *, memory_limit_mb: float) -> Fit:
    """Fit the calibrator, then the decision rule, on validation outputs.

    Args:
        classifier: its calibrator and decision are changed in place.
        predictions: of the validation split.
        memory_limit_mb: where the outputs are not kept, a systematic sample of the rows that fits this.
    """
    stride = 1
    if not predictions.kept:
        stride = -(-predictions.rows * predictions.n_labels * 8 // max(int(memory_limit_mb * 1e6), 1))
    outputs, targets, rows_seen = [], [], 0
    for output, y_BL in predictions.chunks():
        rows_B = torch.arange(rows_seen, rows_seen + len(y_BL), device=y_BL.device)
        sampled_B = rows_B % stride == 0
        rows_seen += len(y_BL)
        # A mask copies what it picks; a slice would be a view that keeps the whole batch in memory.
        outputs.append(output.map_tensors(operator.itemgetter(sampled_B)))
        targets.append(y_BL[sampled_B])
    linked, y_NL = classifier.loss.link(concatenate(outputs)), torch.cat(targets)
    with torch.enable_grad():
        classifier.calibrator.fit(linked, y_NL)
    classifier.decision.fit(classifier.calibrator(linked), y_NL)
    return Fit(
        sentence=f"calibrator and decision fitted on {len(y_NL)} of {predictions.rows} validation rows, "
        f"which also picked the checkpoint: their metrics on valid are optimistic"
        + _fallbacks("calibrator", classifier.calibrator)
        + _fallbacks("decision", classifier.decision),
        score_is_probability=_why_no_marginals(linked) is None,
    )


def _fallbacks(name: str, part: nn.Module) -> str:
    """How many labels had too little data to be fitted; a part marks them in its buffer `fallback_L`."""
    fallback_L = dict(part.named_buffers()).get("fallback_L")
    if fallback_L is None or not fallback_L.any():
        return ""
    return f"; {int(fallback_L.sum())} of {len(fallback_L)} labels take the {name}'s fallback"


@torch.no_grad()
def evaluate(
    classifier: Classifier, predictions: Predictions, *, ranking: bool = True, average_precision: bool = True
) -> Evaluation:
    """Measure a split: link, calibrate, decide, count.

    Args:
        classifier: with its calibrator and decision fitted.
        predictions: of the split.
        ranking, average_precision: whether to compute these two costly families.
    """
    from mlc.metrics.suite import EvaluationSuite

    suite: EvaluationSuite | None = None
    loss_sum, nll = 0.0, _NegativeLogLikelihood()
    for raw, y_BL in predictions.chunks():
        loss_sum += float(classifier.loss(raw, y_BL).double().sum())
        linked = classifier.loss.link(raw)
        calibrated = classifier.calibrator(linked)
        reason = _why_no_marginals(calibrated)
        if suite is None:
            suite = EvaluationSuite(
                n_labels=predictions.n_labels,
                mode="exact" if predictions.kept else "streaming",
                ranking=ranking,
                average_precision=average_precision,
                no_probabilities=reason,
                device=str(y_BL.device),
            )
        suite.update(
            decisions_BL=classifier.decision(calibrated),
            scores_BL=calibrated.score_logits(),
            probabilities_BL=calibrated.marginals() if reason is None else None,
            uncalibrated_BL=linked.scores(),
            y_BL=y_BL,
        )
        nll.add(calibrated, y_BL)
    assert suite is not None, "a split has at least one row"
    result = suite.compute()
    nll_value, nll_reason = nll.result(predictions.rows)
    metrics = {"loss": loss_sum / predictions.rows, "nll": nll_value, **result.values}
    reasons = {**result.reasons, **({"nll": nll_reason} if nll_reason else {})}
    return Evaluation(metrics=metrics, reasons=reasons, suite=result)


def _why_no_marginals(output: LabelOutput) -> str | None:
    try:
        output.marginals()
    except NotDefinedError as error:
        return str(error)
    return None


class _NegativeLogLikelihood:
    """Mean -log P(y | x) in nats, where the output model is a distribution over label sets."""

    def __init__(self) -> None:
        self._sum = 0.0
        self._reason: str | None = None

    def add(self, output: LabelOutput, y_BL: Tensor) -> None:
        try:
            self._sum -= float(output.log_prob(y_BL).double().sum())
        except NotDefinedError as error:
            self._reason = str(error)

    def result(self, rows: int) -> tuple[float | None, str | None]:
        if self._reason is None and self._sum == float("inf"):
            self._reason = "some rows have a label set that is impossible under this model"
        return (None, self._reason) if self._reason else (self._sum / rows, None)
