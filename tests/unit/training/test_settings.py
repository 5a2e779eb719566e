from typing import Any

import pytest
import torch

from mlc.calibration.none import NoCalibration
from mlc.data.dataset import Split
from mlc.decisions.fixed import FixedThreshold
from mlc.errors import UserError
from mlc.losses.binary_cross_entropy import BinaryCrossEntropy
from mlc.model import Classifier, Network
from mlc.outputs.independent import IndependentLabels
from mlc.training.evaluation import Evaluation, evaluate, predict_split
from mlc.training.settings import (
    LARGER_IS_BETTER,
    RANKING_METRICS,
    SMALLER_IS_BETTER,
    choose_device,
)
from tests.unit.training import tiny

L = 7  # more than the largest k of precision at k
EVERY_METRIC = sorted(SMALLER_IS_BETTER | LARGER_IS_BETTER)


class LogitsAreInputs(Network):
    """A network that says what it is given."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
        self.place = torch.nn.Parameter(torch.zeros(1))  # where a network's parameters are, it is

    def forward(self, inputs: Any) -> IndependentLabels:
        return IndependentLabels(inputs["x"])


def measured(logits_NL: torch.Tensor, y_NL: torch.Tensor, **families: bool) -> Evaluation:
    labels = tiny.LabelStatistics.from_targets(y_NL)
    classifier = Classifier(
        network=LogitsAreInputs(),
        loss=BinaryCrossEntropy(
            labels=labels, positive_weight=1.0, max_positive_weight=1.0, label_weight="equal"
        ),
        calibrator=NoCalibration(n_labels=L),
        decision=FixedThreshold(n_labels=L, threshold=0.5),
    )
    split = Split(inputs={"x": logits_NL}, y_NL=y_NL)
    predictions = predict_split(classifier.network, split, tiny.settings(), "cpu")
    return evaluate(classifier, predictions, **families)


@pytest.fixture(scope="module")
def good_and_bad() -> tuple[Evaluation, Evaluation]:
    """The same targets, predicted well and predicted the wrong way round."""
    generator = torch.Generator().manual_seed(0)
    y_NL = (torch.rand(60, L, generator=generator) < 0.25).float()
    y_NL[:, 0] = 1  # every row has a label, and rows differ in how many
    logits_NL = 4 * (2 * y_NL - 1) + torch.randn(60, L, generator=generator)
    return measured(logits_NL, y_NL), measured(-logits_NL, y_NL)


@pytest.mark.parametrize("name", EVERY_METRIC)
def test_the_monitored_metric_is_better_where_predictions_are(
    name: str, good_and_bad: tuple[Evaluation, Evaluation]
) -> None:
    good, bad = (evaluation.metrics[name] for evaluation in good_and_bad)
    assert good is not None
    assert bad is not None
    sign = tiny.settings(monitor=name).monitor_sign
    assert sign * good > sign * bad


@pytest.mark.parametrize("name", EVERY_METRIC)
def test_a_metrics_name_says_its_direction(name: str) -> None:
    smaller = any(word in name for word in ("loss", "error", "nll", "brier", "ece", "mae"))
    assert tiny.settings(monitor=name).monitor_sign == (-1 if smaller else 1)


def test_no_metric_has_two_directions() -> None:
    assert not SMALLER_IS_BETTER & LARGER_IS_BETTER


def test_every_metric_but_plain_facts_can_be_monitored(good_and_bad: tuple[Evaluation, Evaluation]) -> None:
    assert good_and_bad[0].metrics.keys() - set(EVERY_METRIC) == {"rows", "empty_fraction"}


def test_ranking_metrics_are_those_of_the_costly_family(good_and_bad: tuple[Evaluation, Evaluation]) -> None:
    y_NL = (torch.rand(20, L) < 0.5).float()
    without = measured(torch.randn(20, L), y_NL, ranking=False)
    assert good_and_bad[0].metrics.keys() - without.metrics.keys() == set(RANKING_METRICS)


def test_average_precision_is_the_other_costly_family(good_and_bad: tuple[Evaluation, Evaluation]) -> None:
    y_NL = (torch.rand(20, L) < 0.5).float()
    without = measured(torch.randn(20, L), y_NL, average_precision=False)
    assert good_and_bad[0].metrics.keys() - without.metrics.keys() == {"map"}


@pytest.mark.parametrize("name", ["accuracy", "f1", "rows", "Loss", ""])
def test_an_unknown_metric_is_refused_with_those_that_there_are(name: str) -> None:
    with pytest.raises(UserError) as refused:
        tiny.settings(monitor=name)
    assert str(refused.value).startswith(f"trainer.monitor={name} is no validation metric")
    assert all(known in str(refused.value) for known in EVERY_METRIC)


def test_the_cpu_is_there() -> None:
    assert choose_device("cpu") == "cpu"
    assert choose_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")


def test_a_numbered_cpu_is_the_cpu() -> None:
    assert choose_device("cpu:0") == "cpu"


@pytest.mark.parametrize("wanted", ["gpu", "", "0", "mps", "meta", "cuda:x", "cuda:-1", "cpu cuda", "CPU "])
def test_what_is_no_device_is_refused(wanted: str) -> None:
    with pytest.raises(UserError, match=f"^trainer.device={wanted} is no device; choose auto, cpu, cuda"):
        choose_device(wanted)


@pytest.mark.parametrize(("wanted", "count"), [("cuda", 0), ("cuda:0", 0), ("cuda:1", 1), ("cuda:7", 2)])
def test_a_device_that_is_not_there_is_refused(
    wanted: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(UserError, match=f"^trainer.device={wanted} is not there: .* {count} CUDA devices"):
        choose_device(wanted)


@pytest.mark.parametrize("wanted", ["cuda", "cuda:0", "cuda:1"])
def test_a_device_that_is_there_is_taken(wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device(wanted) == wanted
