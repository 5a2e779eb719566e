import math
import weakref
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mlc.calibration.base import Calibrator
from mlc.calibration.none import NoCalibration
from mlc.calibration.platt import Platt
from mlc.calibration.temperature import Temperature
from mlc.data.dataset import Split
from mlc.decisions.base import Decision
from mlc.decisions.thresholds import GlobalThreshold
from mlc.model import Classifier
from mlc.outputs.base import LabelOutput
from mlc.outputs.calibrated import CalibratedLabels
from mlc.outputs.chain import LabelChain
from mlc.outputs.factorised import FactorisedCount
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.scores_only import ScoresOnly
from mlc.outputs.shares import LabelShares
from mlc.training.evaluation import (
    Chunk,
    Predictions,
    evaluate,
    fit_on_validation,
    predict_split,
    run_network,
)
from tests.contract.grid import FITTING_PAIRS, LABELS, TARGETS, Pair, inputs
from tests.unit.training import tiny

ROWS = 40
BYTES_PER_LABEL = 5  # a float32 score and one byte of target: above this a split is streamed


def limit_mb(cells: int) -> float:
    """The memory limit that just holds the scores of so many rows × labels."""
    return cells * BYTES_PER_LABEL / 1e6


def predictions(split: Split, *, streaming: bool, network: Any = None, **changes: Any) -> Predictions:
    cells = len(split) * tiny.LABELS
    settings = tiny.settings(memory_limit_mb=limit_mb(cells - 1 if streaming else cells), **changes)
    found = predict_split(network or tiny.network(), split, settings, "cpu")
    assert found.kept is not streaming
    return found


def fitted(seed: int = 0) -> Classifier:
    classifier = tiny.classifier(seed)
    valid = predictions(tiny.split(ROWS, 1), streaming=False, network=classifier.network)
    fit_on_validation(classifier, valid, memory_limit_mb=1.0)
    return classifier


def test_run_network_keeps_order_mode_and_gradients_out() -> None:
    network, split = tiny.network(), tiny.split(ROWS)
    network({"x": split.inputs["x"]})  # running statistics that differ from those of a batch
    network.train()
    chunks = list(run_network(network, split, batch_size=7))
    assert [len(chunk.y_BL) for chunk in chunks] == [7, 7, 7, 7, 7, 5]
    assert torch.equal(torch.cat([chunk.y_BL for chunk in chunks]), split.y_NL)
    assert all(chunk.weight_B is None for chunk in chunks)
    assert network.training, "the mode it had"
    assert not any(chunk.raw.score_logits().requires_grad for chunk in chunks)
    network.eval()
    with torch.no_grad():
        whole = network(split.inputs).logits_BL
    torch.testing.assert_close(torch.cat([chunk.raw.logits_BL for chunk in chunks]), whole)
    list(run_network(network, split, batch_size=7))
    assert not network.training


def test_running_a_network_changes_nothing_in_it() -> None:
    network = tiny.network()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    list(run_network(network, tiny.split(ROWS), batch_size=7))
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_kept_predictions_run_the_network_once_and_streamed_ones_each_time() -> None:
    network, calls = tiny.network(), []
    network.register_forward_pre_hook(lambda *_: calls.append(1))
    # One call more at first, with a single row: it tells how many numbers the network gives.
    for streaming, expected in ((False, [5, 5, 5]), (True, [1, 5, 9])):
        calls.clear()
        found = predictions(tiny.split(20), streaming=streaming, network=network)
        counts = [len(calls)]
        for _ in range(2):
            list(found.chunks())
            counts.append(len(calls))
        assert counts == expected


def test_both_modes_see_the_same_rows() -> None:
    split, network = tiny.split(ROWS), tiny.network()
    kept, streamed = (predictions(split, streaming=s, network=network) for s in (False, True))
    for found in (kept, streamed):
        assert (found.rows, found.n_labels) == (ROWS, tiny.LABELS)
        outputs, targets, _ = zip(*found.chunks(), strict=True)
        assert torch.equal(torch.cat(targets), split.y_NL)
        assert sum(len(output.scores()) for output in outputs) == ROWS
    assert "exact" in kept.why
    assert "histograms" in streamed.why


@pytest.mark.parametrize("calibrator", [Platt, Temperature, NoCalibration])
def test_exact_and_streaming_agree(calibrator: type[Calibrator]) -> None:
    classifier, split = fitted(), tiny.split(300, 5)
    if calibrator is not Platt:
        classifier = Classifier(
            network=classifier.network,
            loss=classifier.loss,
            calibrator=calibrator(n_labels=tiny.LABELS),
            decision=classifier.decision,
        )
    exact, streaming = (
        evaluate(classifier, predictions(split, streaming=s, network=classifier.network))
        for s in (False, True)
    )
    bound = streaming.metrics["map_error_bound"]
    assert streaming.metrics.keys() - exact.metrics.keys() == {"map_error_bound"}
    for name, value in exact.metrics.items():
        tolerance = bound + 1e-9 if name == "map" else 1e-6
        if value is None:
            assert streaming.metrics[name] is None
            assert streaming.reasons[name] == exact.reasons[name]
        else:
            assert streaming.metrics[name] == pytest.approx(value, rel=tolerance, abs=tolerance), name
    assert 0 < bound < 0.1


@pytest.mark.parametrize("batch_size", [1, 3, 7, 300])
def test_the_batch_size_of_evaluation_changes_nothing(batch_size: int) -> None:
    classifier, split = fitted(), tiny.split(101, 5)
    found = [
        evaluate(
            classifier, predictions(split, streaming=True, network=classifier.network, eval_batch_size=size)
        )
        for size in (batch_size, 50)
    ]
    assert found[0].defined == pytest.approx(found[1].defined, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
def test_what_is_taken_from_a_few_rows_at_a_time_is_that_of_all(
    monkeypatch: pytest.MonkeyPatch, weighted: bool
) -> None:
    classifier, split = fitted(), tiny.split(101, 5)
    if weighted:
        split = replace(split, weight_N=torch.rand(101, generator=torch.Generator().manual_seed(0)))
    whole = evaluate(classifier, predictions(split, streaming=False, network=classifier.network))
    monkeypatch.setattr("mlc.metrics.blocks.CELLS", 20)
    parts = evaluate(classifier, predictions(split, streaming=False, network=classifier.network))
    assert parts.defined == pytest.approx(whole.defined, rel=1e-6)


class Notes(Calibrator):
    """A calibrator that keeps what it was given to fit."""

    def check(self, output: LabelOutput) -> None: ...

    def fit(self, output: LabelOutput, y_NL: Tensor, weight_N: Tensor | None = None) -> None:
        assert torch.is_grad_enabled(), "a fit may need gradients"
        self.seen = (output.score_logits().clone(), y_NL.clone())
        self.weight_N = weight_N

    def forward(self, output: LabelOutput) -> LabelOutput:
        return output


class NotesOfRule(GlobalThreshold):
    """A rule that keeps what it was given to fit."""

    def fit(self, output: LabelOutput, y_NL: Tensor, weight_N: Tensor | None = None) -> None:
        self.seen = (output, y_NL.clone())
        self.weight_N = weight_N


def numbered(rows: int) -> Split:
    """A split whose rows can be told apart by their targets: the row number in binary."""
    y_NL = torch.tensor([[float(row >> bit & 1) for bit in range(tiny.LABELS)] for row in range(rows)])
    return Split(inputs={"x": tiny.split(rows).inputs["x"]}, y_NL=y_NL)


def noting(decision: Decision | None = None) -> Classifier:
    return Classifier(
        network=tiny.network(),
        loss=tiny.loss(),
        calibrator=Notes(n_labels=tiny.LABELS),
        decision=decision or NotesOfRule(n_labels=tiny.LABELS),
    )


@pytest.mark.parametrize("rows", [8, 23, 100])
@pytest.mark.parametrize("eval_batch_size", [1, 2, 5, 7, 64])
@pytest.mark.parametrize("wanted", [2, 5, 8])
def test_a_streamed_fit_uses_a_systematic_sample_that_fits_the_limit(
    rows: int, eval_batch_size: int, wanted: int
) -> None:
    split = Split(
        inputs={"x": torch.arange(rows).float()[:, None].expand(-1, tiny.FEATURES)},
        y_NL=tiny.split(rows).y_NL,
    )
    classifier = noting()
    limit = wanted * tiny.LABELS * 8 / 1e6  # a float32 score and a float32 target
    settings = tiny.settings(eval_batch_size=eval_batch_size, memory_limit_mb=limit)
    whole = torch.cat([c.raw.logits_BL for c in run_network(classifier.network, split, batch_size=64)])
    found = Predictions(
        lambda: run_network(classifier.network, split, batch_size=settings.eval_batch_size),
        rows=rows,
        n_labels=tiny.LABELS,
        numbers_per_row=tiny.LABELS,
        kept=False,
        why="",
    )
    fit = fit_on_validation(classifier, found, memory_limit_mb=limit)
    assert isinstance(classifier.calibrator, Notes)
    scores_NL, y_NL = classifier.calibrator.seen
    stride = math.ceil(rows / wanted)
    expected = list(range(0, rows, stride))
    assert len(expected) <= wanted
    assert torch.equal(y_NL, split.y_NL[expected])
    torch.testing.assert_close(
        scores_NL, classifier.loss.link(IndependentLabels(whole[expected])).score_logits()
    )
    assert fit.sentence.startswith(
        f"calibrator and decision fitted on {len(expected)} of {rows} validation rows"
    )


def test_the_smallest_limit_still_fits_something() -> None:
    classifier = noting()
    found = Predictions(
        lambda: run_network(classifier.network, tiny.split(20), batch_size=6),
        rows=20,
        n_labels=tiny.LABELS,
        numbers_per_row=tiny.LABELS,
        kept=False,
        why="",
    )
    fit_on_validation(classifier, found, memory_limit_mb=1e-9)
    assert isinstance(classifier.calibrator, Notes)
    assert len(classifier.calibrator.seen[1]) == 1


def test_kept_predictions_are_fitted_on_every_row() -> None:
    classifier, split = noting(), numbered(30)
    found = predictions(split, streaming=False, network=classifier.network)
    fit = fit_on_validation(classifier, found, memory_limit_mb=1e-6)
    assert isinstance(classifier.calibrator, Notes)
    assert torch.equal(classifier.calibrator.seen[1], split.y_NL)
    assert "30 of 30 validation rows" in fit.sentence
    assert "optimistic" in fit.sentence


def test_the_calibrator_sees_the_linked_output_and_the_rule_the_calibrated_one() -> None:
    class Halve(Notes):
        def forward(self, output: LabelOutput) -> LabelOutput:
            return CalibratedLabels(output.score_logits() / 2, base=output)

    rule = NotesOfRule(n_labels=tiny.LABELS)
    classifier = Classifier(
        network=tiny.network(), loss=tiny.loss(), calibrator=Halve(n_labels=tiny.LABELS), decision=rule
    )
    split = tiny.split(ROWS, 1)
    found = predictions(split, streaming=False, network=classifier.network)
    fit_on_validation(classifier, found, memory_limit_mb=1.0)
    ((raw, _, _),) = found.chunks()
    # The positive weight of the loss is 2: its link takes log 2 off.
    linked = raw.logits_BL - math.log(2)
    torch.testing.assert_close(classifier.calibrator.seen[0], linked)
    torch.testing.assert_close(rule.seen[0].score_logits(), linked / 2)


def test_a_sample_lets_go_of_the_rows_that_it_leaves_out() -> None:
    arrays: list[weakref.ref[Any]] = []
    alive_before: list[int] = []

    def chunks() -> Iterator[Chunk]:
        for _ in range(6):
            alive_before.append(sum(array() is not None for array in arrays))
            array = np.zeros((10, tiny.LABELS), dtype=np.float32)
            arrays.append(weakref.ref(array))
            yield Chunk(IndependentLabels(torch.from_numpy(array)), torch.ones(10, tiny.LABELS), None)
            del array

    found = Predictions(
        chunks, rows=60, n_labels=tiny.LABELS, numbers_per_row=tiny.LABELS, kept=False, why=""
    )
    fit_on_validation(noting(), found, memory_limit_mb=10 * tiny.LABELS * 8 / 1e6)
    assert max(alive_before) <= 1, "only the batch at hand may be in memory"


@pytest.mark.parametrize("pair", FITTING_PAIRS, ids=str)
def test_every_pair_is_fitted_and_measured(pair: Pair) -> None:
    split = Split(inputs={"x": inputs()}, y_NL=pair.y_BL)
    classifier = Classifier(
        network=pair.make_network(),
        loss=pair.make_loss(),
        calibrator=Platt(n_labels=LABELS),
        decision=GlobalThreshold(n_labels=LABELS),
    )
    found = predict_split(classifier.network, split, tiny.settings(), "cpu")
    fit = fit_on_validation(classifier, found, memory_limit_mb=1.0)
    ((raw, _, _),) = found.chunks()
    linked = pair.make_loss().link(raw)
    has_marginals = not isinstance(linked, LabelShares | FactorisedCount | ScoresOnly | LabelChain)
    assert fit.score_is_probability is has_marginals
    evaluation = evaluate(classifier, found)
    assert evaluation.metrics.keys() >= {"loss", "nll", "micro_f1", "map", "classwise_ece", "log_loss"}
    undefined = {name for name, value in evaluation.metrics.items() if value is None}
    assert undefined == set(evaluation.reasons)
    assert evaluation.defined.keys() == evaluation.metrics.keys() - undefined
    # A chain gives every label set a probability, and yet no label a marginal.
    assert undefined == (set() if has_marginals or isinstance(linked, LabelChain) else {"nll"})


def test_labels_that_could_not_be_fitted_are_counted() -> None:
    classifier, split = tiny.classifier(), tiny.split(ROWS, 1)
    split.y_NL[:, 1] = 0
    found = predictions(split, streaming=False, network=classifier.network)
    sentence = fit_on_validation(classifier, found, memory_limit_mb=1.0).sentence
    calibrator = classifier.calibrator
    assert isinstance(calibrator, Platt)
    assert calibrator.fallback_L[1]
    assert f"{int(calibrator.fallback_L.sum())} of 3 labels take the calibrator's fallback" in sentence
    assert "1 of 3 labels take the decision's fallback" in sentence
    assert "\n" not in sentence


def test_loss_and_nll_by_hand() -> None:
    classifier, split = fitted(), tiny.split(50, 4)
    evaluation = evaluate(classifier, predictions(split, streaming=True, network=classifier.network))
    classifier.network.eval()
    with torch.no_grad():
        z_NL, y_NL = classifier.network(split.inputs).logits_BL.double(), split.y_NL.double()
    # Trained with weight 2 on positives; linked by taking log 2 off; Platt leaves the model's own likelihood.
    q_NL = torch.sigmoid(z_NL)
    loss = -(2 * y_NL * q_NL.log() + (1 - y_NL) * (1 - q_NL).log()).sum(1).mean()
    p_NL = torch.sigmoid(z_NL - math.log(2))
    nll = -(y_NL * p_NL.log() + (1 - y_NL) * (1 - p_NL).log()).sum(1).mean()
    assert evaluation.metrics["loss"] == pytest.approx(float(loss), rel=1e-5)
    assert evaluation.metrics["nll"] == pytest.approx(float(nll), rel=1e-5)


def test_nll_of_a_temperature_is_that_of_the_tempered_model() -> None:
    classifier, split = fitted(), tiny.split(50, 4)
    temperature = Temperature(n_labels=tiny.LABELS)
    temperature.temperature.fill_(1.7)
    tempered = Classifier(
        network=classifier.network, loss=classifier.loss, calibrator=temperature, decision=classifier.decision
    )
    found = evaluate(tempered, predictions(split, streaming=False, network=classifier.network))
    classifier.network.eval()
    with torch.no_grad():
        z_NL = classifier.network(split.inputs).logits_BL
    p_NL = torch.sigmoid((z_NL - math.log(2)) / 1.7)
    expected = torch.nn.functional.binary_cross_entropy(p_NL, split.y_NL, reduction="sum") / 50
    assert found.metrics["nll"] == pytest.approx(float(expected), rel=1e-5)


def test_an_impossible_label_set_has_no_nll_and_says_why() -> None:
    pair = next(p for p in FITTING_PAIRS if (p.head, p.world) == ("softmax", "single"))
    several = Split(inputs={"x": inputs()}, y_NL=TARGETS["several"])
    classifier = Classifier(
        network=pair.make_network(),
        loss=pair.make_loss(),
        calibrator=NoCalibration(n_labels=LABELS),
        decision=GlobalThreshold(n_labels=LABELS),
    )
    found = evaluate(classifier, predict_split(classifier.network, several, tiny.settings(), "cpu"))
    assert found.metrics["nll"] is None
    assert "impossible" in found.reasons["nll"]
    assert "nll" not in found.defined


def test_evaluation_never_fits() -> None:
    classifier = fitted()
    before = {k: v.clone() for part in classifier.parts().values() for k, v in part.state_dict().items()}
    evaluate(classifier, predictions(tiny.split(30, 7), streaming=True, network=classifier.network))
    after = {k: v for part in classifier.parts().values() for k, v in part.state_dict().items()}
    assert all(torch.equal(before[key], after[key]) for key in after)
