"""Unknown labels, weights and levels, from the network to the metrics."""

from collections.abc import Mapping, Set
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mlc.backbones.mlp import MLP
from mlc.batch import LabelStatistics, presence
from mlc.calibration.base import Calibrator
from mlc.calibration.none import NoCalibration
from mlc.calibration.platt import Platt
from mlc.data.dataset import Split
from mlc.decisions.thresholds import GlobalThreshold, PerLabelThreshold
from mlc.errors import UserError
from mlc.heads.levels import LevelsHead
from mlc.losses.binary_cross_entropy import BinaryCrossEntropy
from mlc.losses.negative_log_likelihood import NegativeLogLikelihood
from mlc.model import Classifier, Network
from mlc.outputs.base import LabelOutput
from mlc.training.evaluation import Evaluation, Predictions, evaluate, fit_on_validation, predict_split
from tests.contract.grid import build
from tests.unit.training import tiny

NAN = float("nan")
ROWS, LEVELS = 60, 3
COUNTS_OF_UNKNOWN = frozenset({"unknown_fraction", "rows_without_known_labels"})


@pytest.fixture(scope="module")
def fitted() -> Classifier:
    """Rules and calibrator fitted on other rows."""
    classifier = tiny.classifier()
    valid = predictions(classifier, tiny.split(80, 1))
    fit_on_validation(classifier, valid, memory_limit_mb=1.0)
    return classifier


def predictions(classifier: Classifier, split: Split, *, streaming: bool = False) -> Predictions:
    settings = tiny.settings(memory_limit_mb=1e-6 if streaming else 1.0, eval_batch_size=7)
    found = predict_split(classifier.network, split, settings, "cpu")
    assert found.kept is not streaming
    return found


def measure(classifier: Classifier, split: Split, *, streaming: bool = False) -> Evaluation:
    return evaluate(classifier, predictions(classifier, split, streaming=streaming))


def holed() -> Split:
    """Rows with known, some, one and no known label."""
    split = tiny.split(ROWS, 4)
    unknown_NL = torch.rand(ROWS, tiny.LABELS, generator=torch.Generator().manual_seed(0)) < 0.3
    unknown_NL[5:9] = True
    unknown_NL[9] = torch.tensor([True, False, True])
    return replace(split, y_NL=split.y_NL.masked_fill(unknown_NL, NAN))


def same(
    first: Mapping[str, float | None],
    second: Mapping[str, float | None],
    *,
    but: Set[str] = frozenset(),
) -> None:
    """Every metric that has a value on one side has it on the other."""
    assert first.keys() - but == second.keys() - but
    for name in first.keys() - but:
        expected = second[name]
        assert first[name] == (None if expected is None else pytest.approx(expected, rel=1e-5, abs=1e-7)), (
            name
        )


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("unknown", [False, True])
def test_weight_k_is_the_row_k_times(fitted: Classifier, unknown: bool, streaming: bool) -> None:
    split = holed() if unknown else tiny.split(ROWS, 4)
    times_N = torch.arange(ROWS) % 4
    weighed = measure(fitted, replace(split, weight_N=times_N.float()), streaming=streaming)
    repeated = measure(fitted, split.rows(torch.arange(ROWS).repeat_interleave(times_N)), streaming=streaming)
    same(weighed.metrics, repeated.metrics)
    assert weighed.metrics["loss"] != pytest.approx(measure(fitted, split).metrics["loss"], rel=1e-3)


def test_weights_of_one_change_nothing(fitted: Classifier) -> None:
    split = holed()
    same(
        measure(fitted, split).metrics,
        measure(fitted, replace(split, weight_N=torch.ones(ROWS))).metrics,
    )


def test_the_scale_of_the_weights_is_in_no_mean(fitted: Classifier) -> None:
    weight_N = torch.arange(ROWS) % 4 + 0.5
    one, ten = (measure(fitted, replace(holed(), weight_N=k * weight_N)).metrics for k in (1, 10))
    for name in ("loss", "nll", "micro_f1", "map", "classwise_ece", "log_loss"):
        assert one[name] == pytest.approx(ten[name], rel=1e-5)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_rows_without_known_labels_are_as_if_they_were_not_there(
    fitted: Classifier, weighted: bool, streaming: bool
) -> None:
    split = holed()
    if weighted:
        split = replace(split, weight_N=torch.arange(ROWS) % 3 + 0.5)
    known_N = (~split.y_NL.isnan()).any(1)
    assert 0 < int((~known_N).sum()) < ROWS
    kept = Split(
        inputs={"x": split.inputs["x"][known_N]},
        y_NL=split.y_NL[known_N],
        weight_N=None if split.weight_N is None else split.weight_N[known_N],
    )
    all_rows, known_rows = (measure(fitted, s, streaming=streaming).metrics for s in (split, kept))
    for name in ("loss", "nll"):
        assert all_rows[name] == pytest.approx(known_rows[name], rel=1e-6)
    same(all_rows, known_rows, but=COUNTS_OF_UNKNOWN)
    assert all_rows["rows_without_known_labels"] == pytest.approx(weight_of(split, ~known_N))


def weight_of(split: Split, chosen_N: Tensor) -> float:
    weight_N = torch.ones(len(split)) if split.weight_N is None else split.weight_N
    return float(weight_N[chosen_N].sum())


class Chosen(nn.Module):
    """The network with fewer labels."""

    def __init__(self, network: Network, labels: list[int]) -> None:
        super().__init__()
        self.network, self.labels = network, labels

    def forward(self, inputs: Mapping[str, Tensor]) -> LabelOutput:
        output: LabelOutput = self.network(inputs)
        return output.map_tensors(lambda z_BL: z_BL[:, self.labels])


@pytest.mark.parametrize("label", range(tiny.LABELS))
def test_a_label_that_is_never_known_is_as_if_it_was_not_there(label: int) -> None:
    others = [other for other in range(tiny.LABELS) if other != label]
    split = tiny.split(ROWS, 4)
    y_NL = split.y_NL.clone()
    y_NL[:, label] = NAN
    whole = plain(tiny.network())
    fewer = plain(Chosen(whole.network, others), n_labels=2)  # type: ignore[arg-type]
    found = [
        measure(whole, replace(split, y_NL=y_NL)).metrics,
        measure(fewer, replace(split, y_NL=split.y_NL[:, others])).metrics,
    ]
    assert found[0]["loss"] == pytest.approx(found[1]["loss"], rel=1e-6)
    at_3 = {"precision_at_3", "ndcg_at_3"}  # there are only two labels, which is an option of the suite
    same(found[0], found[1], but=at_3 | COUNTS_OF_UNKNOWN)
    assert found[0]["unknown_fraction"] == pytest.approx(1 / 3)


def plain(network: Network, n_labels: int = tiny.LABELS) -> Classifier:
    """Nothing is fitted."""
    return Classifier(
        network=network,
        loss=BinaryCrossEntropy(
            labels=LabelStatistics.from_targets(tiny.split().y_NL[:, :n_labels]),
            positive_weight=1.0,
            max_positive_weight=10.0,
            label_weight="equal",
        ),
        calibrator=NoCalibration(n_labels=n_labels),
        decision=GlobalThreshold(n_labels=n_labels),
    )


@pytest.mark.parametrize("streaming", [False, True])
def test_loss_nll_and_decisions_by_hand(streaming: bool) -> None:
    classifier = plain(tiny.network())
    split = replace(holed(), weight_N=torch.arange(ROWS) % 3 + 0.5)
    found = measure(classifier, split, streaming=streaming).metrics
    with torch.no_grad():
        p_NL = torch.sigmoid(classifier.network.eval()(split.inputs).logits_BL.double())
        decided_NL = classifier.decision(classifier.network(split.inputs))
    weight = total = tp = wrong = entries = 0.0
    for p_L, y_L, d_L, w in zip(
        p_NL.tolist(), split.y_NL.tolist(), decided_NL.tolist(), split.weight_N.tolist(), strict=True
    ):
        known = [i for i, y in enumerate(y_L) if y == y]
        if not known:
            continue
        weight += w
        for i in known:
            total -= w * torch.tensor(p_L[i] if y_L[i] else 1 - p_L[i], dtype=torch.float64).log().item()
            tp += w * (d_L[i] and y_L[i] == 1)
            wrong += w * (d_L[i] != (y_L[i] == 1))
        entries += w * len(known)
    assert found["loss"] == pytest.approx(total / weight, rel=1e-5)
    assert found["nll"] == pytest.approx(total / weight, rel=1e-5)
    assert found["micro_f1"] == pytest.approx(2 * tp / (2 * tp + wrong), rel=1e-6)
    assert found["hamming_loss"] == pytest.approx(wrong / entries, rel=1e-6)


def test_an_infinite_row_without_weight_is_left_out(fitted: Classifier) -> None:
    class Breaks(BinaryCrossEntropy):
        def forward(self, output: LabelOutput, y_BL: Tensor, weight_B: Tensor | None = None) -> Tensor:
            loss_B = super().forward(output, y_BL, weight_B)
            return torch.where(y_BL.isnan().all(1), torch.inf, loss_B)

    loss = Breaks(
        labels=tiny.statistics(), positive_weight=2.0, max_positive_weight=10.0, label_weight="equal"
    )
    found = measure(replace(fitted, loss=loss), holed()).metrics
    assert found["loss"] == pytest.approx(measure(fitted, holed()).metrics["loss"])


def test_a_split_of_which_nothing_is_known(fitted: Classifier) -> None:
    split = tiny.split(9)
    with pytest.raises(UserError, match="Every target of this split is unknown"):
        measure(fitted, replace(split, y_NL=torch.full_like(split.y_NL, NAN)))


class Notes(Calibrator):
    """A calibrator that keeps what it was given to fit."""

    def check(self, output: LabelOutput) -> None: ...

    def fit(self, output: LabelOutput, y_NL: Tensor, weight_N: Tensor | None = None) -> None:
        self.seen: tuple[Any, ...] = (output, y_NL, weight_N)

    def forward(self, output: LabelOutput) -> LabelOutput:
        return output


class NotesOfRule(GlobalThreshold):
    """A rule that keeps what it was given to fit."""

    def fit(self, output: LabelOutput, y_NL: Tensor, weight_N: Tensor | None = None) -> None:
        self.seen: tuple[Any, ...] = (output, y_NL, weight_N)


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_calibrator_and_rule_see_weights_unknown_labels_and_presence(stride: int, weighted: bool) -> None:
    weight_N = torch.arange(ROWS) / ROWS if weighted else None
    split = replace(holed(), weight_N=weight_N)
    split = replace(
        split, y_NL=torch.where(split.y_NL > 0, torch.arange(ROWS)[:, None] % 4 + 1.0, split.y_NL)
    )
    calibrator, rule = Notes(n_labels=tiny.LABELS), NotesOfRule(n_labels=tiny.LABELS)
    classifier = Classifier(network=tiny.network(), loss=tiny.loss(), calibrator=calibrator, decision=rule)
    found = predictions(classifier, split, streaming=stride > 1)
    limit_mb = ROWS / stride * tiny.LABELS * 8 / 1e6
    fit_on_validation(classifier, found, memory_limit_mb=limit_mb)
    expected = presence(split.y_NL)[::stride]
    for _, y_NL, weights in (calibrator.seen, rule.seen):
        assert torch.equal(y_NL.isnan(), expected.isnan())
        assert set(y_NL.nan_to_num(nan=0.5).unique().tolist()) == {0, 0.5, 1}
        assert torch.equal(y_NL.nan_to_num(nan=0.5), expected.nan_to_num(nan=0.5))
        if weight_N is None:
            assert weights is None
        else:
            assert torch.equal(weights, weight_N[::stride])


def test_a_fit_with_weights_is_the_fit_of_repeated_rows() -> None:
    split, times_N = holed(), torch.arange(ROWS) % 4
    states = []
    for given in (
        replace(split, weight_N=times_N.float()),
        split.rows(torch.arange(ROWS).repeat_interleave(times_N)),
        split,
    ):
        classifier = replace(
            tiny.classifier(),
            calibrator=Platt(n_labels=tiny.LABELS),
            decision=PerLabelThreshold(n_labels=tiny.LABELS),
        )
        fit_on_validation(classifier, predictions(classifier, given), memory_limit_mb=1.0)
        parts = classifier.parts()
        states.append({**parts["calibrator"].state_dict(), **parts["decision"].state_dict()})
    weighed, repeated, unweighed = states
    for name, value in weighed.items():
        torch.testing.assert_close(value, repeated[name], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(weighed["slope_L"], unweighed["slope_L"], rtol=1e-2)


def levels_split() -> Split:
    split = tiny.split(ROWS, 4)
    level_NL = split.y_NL * (1 + torch.arange(ROWS)[:, None] % (LEVELS - 1))
    level_NL[3:5], level_NL[10:20, 1] = NAN, NAN
    return replace(split, y_NL=level_NL, weight_N=torch.arange(ROWS) % 3 + 0.5)


def levels_classifier() -> Classifier:
    labels = LabelStatistics.from_targets(levels_split().y_NL)
    torch.manual_seed(0)
    backbone = MLP(inputs=tiny.INPUTS, widths=[8], input_dropout=0.0, dropout=0.0, norm="none")
    head = LevelsHead(in_features=8, labels=labels, prior_bias=True)
    return Classifier(
        network=Network(backbone=backbone, head=head),
        loss=NegativeLogLikelihood(labels=labels),
        calibrator=Platt(n_labels=tiny.LABELS),
        decision=PerLabelThreshold(n_labels=tiny.LABELS),
    )


@pytest.mark.parametrize("streaming", [False, True])
def test_levels_are_measured_as_levels_and_as_presence(streaming: bool) -> None:
    classifier, split = levels_classifier(), levels_split()
    fit_on_validation(classifier, predictions(classifier, split), memory_limit_mb=1.0)
    found = measure(classifier, split, streaming=streaming).metrics
    with torch.no_grad():
        output = classifier.network.eval()(split.inputs)
        log_p_NLK = output.logits_BLK.double().log_softmax(2)
        decided_NL = classifier.decision(classifier.calibrator(output))
    known_NL, weight_N = ~split.y_NL.isnan(), split.weight_N
    assert weight_N is not None
    w_NL = weight_N.double()[:, None] * known_NL
    y_NL = split.y_NL.nan_to_num(nan=0).long()
    nll_N = -(log_p_NLK.gather(2, y_NL[:, :, None])[:, :, 0] * known_NL).sum(1)
    mean = float((weight_N * nll_N).sum() / weight_N[known_NL.any(1)].sum())
    assert found["loss"] == pytest.approx(mean, rel=1e-5)
    assert found["nll"] == pytest.approx(mean, rel=1e-5), "Platt leaves the likelihood of levels alone"

    levels = {name for name in found if name.startswith("level_")}
    assert levels == {"level_accuracy", "level_mae", "level_exact", "level_quadratic_kappa"}
    off_NL = (log_p_NLK.argmax(2) - y_NL).abs().double()
    assert found["level_mae"] == pytest.approx(float((off_NL * w_NL).sum() / w_NL.sum()), rel=1e-6)
    tp = (w_NL * (decided_NL & (y_NL > 0))).sum()
    wrong = (w_NL * (decided_NL != (y_NL > 0))).sum()
    assert found["micro_f1"] == pytest.approx(float(2 * tp / (2 * tp + wrong)), rel=1e-6)


def test_without_levels_there_are_no_level_metrics(fitted: Classifier) -> None:
    assert not [name for name in measure(fitted, holed()).metrics if name.startswith("level_")]


@pytest.mark.parametrize("name", ["soft_f1", "two_way"])
def test_a_loss_of_a_whole_batch_is_weighted_as_repeated_rows_are(name: str) -> None:
    no_calibration = NoCalibration(n_labels=tiny.LABELS)
    classifier = replace(tiny.classifier(), loss=build("loss", name), calibrator=no_calibration)
    split = tiny.split(20, 3)
    weight_N = torch.tensor([2.0, 1.0, 0.0, 1.0]).repeat(5)
    weighted = replace(split, weight_N=weight_N)
    repeated = split.rows(torch.arange(20).repeat_interleave(weight_N.long()))
    values = []
    for rows in (weighted, repeated):
        whole = predict_split(classifier.network, rows, tiny.settings(), "cpu")
        values.append(evaluate(classifier, whole).defined["loss"])
    assert values[0] == pytest.approx(values[1], rel=1e-5)
