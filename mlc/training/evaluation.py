"""Running a network over a split, fitting what is fitted there, and measuring."""

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mlc.batch import BatchInput, presence
from mlc.data.dataset import Split
from mlc.losses.base import Loss
from mlc.metrics.blocks import in_threads, row_slices
from mlc.metrics.suite import EvaluationSuite, SuiteResult, choose_mode
from mlc.metrics.weights import known_entries
from mlc.model import Classifier, Network
from mlc.outputs.base import LabelOutput, NotDefinedError, concatenate
from mlc.outputs.levels import LabelLevels
from mlc.training import feeding, processes
from mlc.training.order import evaluation_order
from mlc.training.precision import autocast
from mlc.training.settings import TrainerSettings

# What is evaluated at a time: with many labels so many rows, as many as the metrics count at a time in two
# threads; with few labels so many numbers of the network.
_BLOCK_ROWS = 512
_BLOCK_NUMBERS = 2**20

_ALSO_PICKED = (
    "which also picked the checkpoint: their metrics on valid are optimistic (trainer.separate_fit=true "
    "keeps the two apart)"
)


class Chunk(NamedTuple):
    """Some rows of a split: raw output, targets as `Batch` has them, and weights."""

    raw: LabelOutput
    y_BL: Tensor
    weight_B: Tensor | None


@dataclass(frozen=True)
class Predictions:
    """What a network says about a split: raw outputs, targets and weights.

    Args:
        chunks: makes a fresh iterator over the rows.
        rows: number of examples N.
        n_labels: number of labels L.
        numbers_per_row: numbers that the network gives for an example, or L if that is more.
        kept: True where the outputs are kept in memory; False where each pass runs the network again.
        why: one sentence on which, and why.
    """

    chunks: Callable[[], Iterator[Chunk]]
    rows: int
    n_labels: int
    numbers_per_row: int
    kept: bool
    why: str

    def example(self) -> LabelOutput:
        """The output of some rows, to be asked what it defines."""
        return next(self.chunks()).raw


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
    suite: SuiteResult

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
    numbers_per_row = max(split.n_labels, _numbers_per_row(network, split))
    mode, why = choose_mode(len(split), numbers_per_row, memory_limit_mb=settings.memory_limit_mb)

    def run() -> Iterator[Chunk]:
        return run_network(network, split, batch_size=settings.eval_batch_size, precision=settings.precision)

    if mode == "streaming":
        return Predictions(run, len(split), split.n_labels, numbers_per_row, kept=False, why=why)
    whole = _joined(list(run()))
    return Predictions(lambda: iter([whole]), len(split), split.n_labels, numbers_per_row, kept=True, why=why)


def _joined(chunks: Sequence[Chunk]) -> Chunk:
    weights = [chunk.weight_B for chunk in chunks if chunk.weight_B is not None]
    return Chunk(
        concatenate([chunk.raw for chunk in chunks]),
        torch.cat([chunk.y_BL for chunk in chunks]),
        torch.cat(weights) if weights else None,
    )


@torch.no_grad()
def _numbers_per_row(network: Network, split: Split) -> int:
    """How many numbers the network gives for an example."""
    was_training = network.training
    numbers = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal numbers
        numbers += tensor.numel()
        return tensor

    row_1 = torch.zeros(1, dtype=torch.int64, device=split.device)
    network.eval()(split.select(row_1).inputs).map_tensors(count)
    network.train(was_training)
    return numbers


@torch.no_grad()
def run_network(
    network: Network, split: Split, *, batch_size: int, precision: str = "fp32"
) -> Iterator[Chunk]:
    """What the network says about a split, batch by batch; rows of about one length together.

    Of several processes each runs its part of every batch, and all of them get the whole.
    """
    was_training = network.training
    network.eval()
    rows_N = torch.arange(len(split))
    if split.lengths_N is not None:
        rows_N = evaluation_order(split.lengths_N).cpu()
    batches_B = rows_N.split(batch_size)
    device = str(next(network.parameters()).device)
    # A process that has no row of a small last batch runs a row all the same, to know its output's shape.
    own = (processes.own_part(rows_B) if processes.has_part(rows_B) else rows_B[:1] for rows_B in batches_B)
    try:
        for rows_B, batch in zip(batches_B, feeding.batches(split, own, device), strict=True):
            output = forward(network, batch.inputs, precision=precision)
            if processes.size() == 1:
                yield Chunk(output, batch.y_BL, batch.weight_B)
                continue
            gather = partial(processes.gather_rows, rows_B=rows_B)
            y_BL, weight_B = gather(batch.y_BL), batch.weight_B
            yield Chunk(output.map_tensors(gather), y_BL, None if weight_B is None else gather(weight_B))
    finally:  # also where not all batches are asked for
        network.train(was_training)


def forward(network: Network, inputs: Mapping[str, BatchInput], *, precision: str = "fp32") -> LabelOutput:
    """The network's output, float32 in whatever format the layers ran."""
    with autocast(inputs, precision):
        output: LabelOutput = network(inputs)
    return output.map_tensors(Tensor.float)


@torch.no_grad()
def fit_on_validation(
    classifier: Classifier, predictions: Predictions, *, memory_limit_mb: float, separate: bool = False
) -> Fit:
    """Fit the calibrator, then the decision rule, on validation outputs.

    Args:
        classifier: its calibrator and decision are changed in place.
        predictions: of the validation split.
        memory_limit_mb: where the outputs are not kept, a systematic sample of the rows that fits this.
        separate: whether these rows had no part in picking the checkpoint.
    """
    stride = 1
    if not predictions.kept:
        stride = -(-predictions.rows * predictions.numbers_per_row * 8 // max(int(memory_limit_mb * 1e6), 1))
    outputs, targets, weights, rows_seen = [], [], [], 0
    for raw, y_BL, weight_B in predictions.chunks():
        if stride > 1:
            # A mask copies what it picks; a slice would be a view that keeps the whole batch in memory.
            rows_B = torch.arange(rows_seen, rows_seen + len(y_BL), device=y_BL.device)
            sampled_B = rows_B % stride == 0
            rows_seen += len(y_BL)
            raw, y_BL = raw.map_tensors(operator.itemgetter(sampled_B)), y_BL[sampled_B]
            weight_B = None if weight_B is None else weight_B[sampled_B]
        outputs.append(raw)
        targets.append(presence(y_BL))
        weights += [] if weight_B is None else [weight_B]
    raw_N = outputs[0] if len(outputs) == 1 else concatenate(outputs)
    linked, y_NL = classifier.loss.link(raw_N), torch.cat(targets)
    weight_N = torch.cat(weights) if weights else None
    with torch.enable_grad():
        classifier.calibrator.fit(linked, y_NL, weight_N)
    classifier.decision.fit(classifier.calibrator(linked), y_NL, weight_N)
    return fit_of(
        classifier,
        fitted_rows=len(y_NL),
        rows=predictions.rows,
        separate=separate,
        score_is_probability=marginals_of(linked)[0] is not None,
    )


def fit_of(
    classifier: Classifier, *, fitted_rows: int, rows: int, separate: bool, score_is_probability: bool
) -> Fit:
    """What is to be said of a classifier whose calibrator and decision have been fitted on so many rows."""
    return Fit(
        sentence=f"calibrator and decision fitted on {fitted_rows} of {rows} validation rows, "
        + ("which had no part in picking the checkpoint" if separate else _ALSO_PICKED)
        + _fallbacks("calibrator", classifier.calibrator)
        + _fallbacks("decision", classifier.decision),
        score_is_probability=score_is_probability,
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
    suite: EvaluationSuite | None = None
    loss, nll = RowMean(), RowMean()
    why_no_nll = ""
    for raw, target_BL, weight_B in _blocks(classifier, predictions, loss):
        row_weight_B = row_weights(target_BL, weight_B)
        if not classifier.loss.couples_batch:
            loss.add(_row_losses(classifier.loss, raw, target_BL, weight_B), row_weight_B)
        linked = classifier.loss.link(raw)
        calibrated = classifier.calibrator(linked)
        marginals_BL, reason = marginals_of(calibrated)
        levels = linked if isinstance(linked, LabelLevels) else None
        if suite is None:
            suite = EvaluationSuite(
                n_labels=predictions.n_labels,
                mode="exact" if predictions.kept else "streaming",
                ranking=ranking,
                average_precision=average_precision,
                no_probabilities=reason,
                levels=levels.logits_BLK.shape[2] if levels else None,
                device=str(target_BL.device),
            )
        suite.update(
            decisions_BL=classifier.decision(calibrated),
            scores_BL=calibrated.score_logits(),
            probabilities_BL=marginals_BL,
            uncalibrated_BL=linked.scores(),
            y_BL=target_BL,
            weight_B=weight_B,
            levels_BL=levels.levels() if levels else None,
            y_levels_BL=target_BL if levels else None,
        )
        try:
            nll.add(-_row_log_probs(calibrated, target_BL) * row_weight_B, row_weight_B)
        except NotDefinedError as error:
            why_no_nll = str(error)
    assert suite is not None, "a split has at least one row"
    result = suite.compute()
    if not why_no_nll and nll.value == float("inf"):
        why_no_nll = "some rows have a label set that is impossible under this model"
    metrics = {"loss": loss.value, "nll": None if why_no_nll else nll.value, **result.values}
    reasons = {**result.reasons, **({"nll": why_no_nll} if why_no_nll else {})}
    return Evaluation(metrics=metrics, reasons=reasons, suite=result)


def _blocks(classifier: Classifier, predictions: Predictions, loss: "RowMean") -> Iterator[Chunk]:
    """The rows of a split, few enough at a time for all that is derived from their outputs to stay small.

    A loss that couples the rows of a batch is measured here, on each batch as a whole.
    """
    step = max(_BLOCK_ROWS, _BLOCK_NUMBERS // max(1, predictions.numbers_per_row))
    for chunk in predictions.chunks():
        if classifier.loss.couples_batch:
            row_weight_B = row_weights(chunk.y_BL, chunk.weight_B)
            # Copies of a batch's one loss are not weighted yet.
            loss_B = classifier.loss(*chunk)
            loss.add(loss_B * row_weight_B, row_weight_B)
        for start in range(0, len(chunk.y_BL), step):
            rows = slice(start, start + step)
            weight_B = None if chunk.weight_B is None else chunk.weight_B[rows]
            yield Chunk(chunk.raw.map_tensors(operator.itemgetter(rows)), chunk.y_BL[rows], weight_B)


def _row_losses(loss: Loss, output: LabelOutput, y_BL: Tensor, weight_B: Tensor | None) -> Tensor:
    """B losses."""

    def losses(rows: slice, part: LabelOutput) -> Tensor:
        values_B: Tensor = loss(part, y_BL[rows], None if weight_B is None else weight_B[rows])
        return values_B

    return _by_rows(losses, output, y_BL)


def _row_log_probs(output: LabelOutput, y_BL: Tensor) -> Tensor:
    """B log probabilities of the targets."""
    return _by_rows(lambda rows, part: part.log_prob(y_BL[rows]), output, y_BL)


def _by_rows(number: Callable[[slice, LabelOutput], Tensor], output: LabelOutput, y_BL: Tensor) -> Tensor:
    """A number for each row, from a few rows at a time: what is derived on the way stays in the cache."""

    def of(rows: slice) -> Tensor:
        return number(rows, output.map_tensors(operator.itemgetter(rows)))

    return torch.cat(in_threads(of, row_slices(y_BL)))


def row_weights(y_BL: Tensor, weight_B: Tensor | None) -> Tensor:
    """B float64 weights; a row without any known label weighs nothing."""
    known_BL = known_entries(y_BL)
    known_B = y_BL.new_ones(len(y_BL)) if known_BL is None else known_BL.any(1)
    return known_B.double() if weight_B is None else known_B.double() * weight_B


class RowMean:
    """A weighted mean over the batches of a split; its sums stay on the batches' device until it is read."""

    def __init__(self) -> None:
        self._sum: Tensor | float = 0.0
        self._weight: Tensor | float = 0.0

    def add(self, weighted_B: Tensor, weight_B: Tensor) -> None:
        """Add values already times their weight; those of weight 0 are left out, whatever they are."""
        self._sum = self._sum + torch.where(weight_B > 0, weighted_B.double(), 0).sum()
        self._weight = self._weight + weight_B.sum()

    @property
    def value(self) -> float:
        """The mean; this waits for the device."""
        return float(self._sum) / float(self._weight)


def marginals_of(output: LabelOutput) -> tuple[Tensor | None, str | None]:
    """The marginals, or None and why there are none."""
    try:
        return output.marginals(), None
    except NotDefinedError as error:
        return None, str(error)
