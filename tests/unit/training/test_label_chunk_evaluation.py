"""The evaluation by labels against that by rows, which has all labels at once."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mlc.backbones.base import Backbone
from mlc.backbones.flatten import Flatten
from mlc.backbones.mlp import MLP
from mlc.batch import LabelStatistics
from mlc.calibration.base import Calibrator
from mlc.data.dataset import Split
from mlc.decisions.base import Decision
from mlc.errors import Fault, UserError
from mlc.experiment.instantiate import make
from mlc.experiment.shipped import load_shipped
from mlc.heads.base import Head
from mlc.inputs import MAIN, InputSpec
from mlc.losses.base import Loss
from mlc.model import Classifier, Network
from mlc.rows import LabelRows, SparseRows, TokenRows
from mlc.training import label_chunk_evaluation, roads
from mlc.training.evaluation import Evaluation
from mlc.training.label_predictions import LabelPredictions
from tests.unit.training import tiny

N, D, L = 40, 6, 23


def part(group: str, name: str, kind: type, options: dict, **given):
    node = {**load_shipped(group, name), **options}
    return make(node, group=group, kind=kind)(**given)


def targets(*, unknown: bool = False) -> Tensor:
    """Few true labels; rows without any, labels without any, two rows of which nothing is known."""
    generator = torch.Generator().manual_seed(1)
    y_NL = (torch.rand(N, L, generator=generator) < torch.linspace(0.02, 0.4, L)).float()
    y_NL[3], y_NL[:, 5] = 0, 0
    if unknown:
        y_NL[torch.rand(N, L, generator=generator) < 0.2] = torch.nan
        y_NL[[7, 8]], y_NL[:, 9] = torch.nan, torch.nan
    return y_NL


def label_rows(y_NL: Tensor) -> LabelRows:
    length_N = (y_NL > 0).sum(1)
    return LabelRows(y_NL.nonzero()[:, 1].int(), length_N.cumsum(0) - length_N, length_N, L)


def sparse(x_ND: Tensor) -> SparseRows:
    length_N = (x_ND != 0).sum(1)
    ids_M = x_ND.nonzero()[:, 1]
    return SparseRows(ids_M, length_N.cumsum(0) - length_N, length_N, x_ND[x_ND != 0], D)


def classifier(
    head: str, loss: str, calibration: str, decision: str, options: dict, *, dense: bool
) -> Classifier:
    torch.manual_seed(0)
    labels = LabelStatistics.from_targets(targets())
    if dense:
        inputs = {MAIN: InputSpec("numbers", (D,))}
        backbone = MLP(inputs=inputs, widths=[8], input_dropout=0.1, dropout=0.1, norm="batch")
    else:
        backbone = Flatten(inputs={MAIN: InputSpec("sparse", (D,))})
    network = Network(
        backbone=backbone,
        head=part("head", head, Head, {}, in_features=8 if dense else D, labels=labels),
    )
    for parameter in network.head.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return Classifier(
        network=network,
        loss=part("loss", loss, Loss, options.get("loss", {}), labels=labels),
        calibrator=part("calibration", calibration, Calibrator, {}, n_labels=L),
        decision=part("decision", decision, Decision, options.get("decision", {}), n_labels=L),
    )


def split(*, dense: bool, unknown: bool = False, weighted: bool = False, seed: int = 0) -> Split:
    x_ND = torch.randn(N, D, generator=torch.Generator().manual_seed(seed))
    x_ND[2] = 0  # equal scores
    y_NL = targets(unknown=unknown)
    weight_N = torch.linspace(0, 2, N) if weighted else None
    return Split(
        inputs={MAIN: x_ND if dense else sparse(x_ND)},
        y_NL=y_NL if unknown else label_rows(y_NL),
        weight_N=weight_N,
    )


def both(made: Classifier, *splits: Split, chunk: int = 7) -> list[tuple[Classifier, Evaluation]]:
    """What the two roads find on the last split, fitted on the first: by rows, by labels."""
    found = []
    for label_chunk in (None, chunk):
        # So little memory that a block is cut into pieces, too.
        settings = tiny.settings(
            label_chunk=label_chunk, memory_limit_mb=100.0 if label_chunk is None else 0.01
        )
        own = Classifier(**{name: copy.deepcopy(value) for name, value in vars(made).items()})
        fitting, measured = (
            roads.predict_split(own.network, rows, settings, "cpu") for rows in (splits[0], splits[-1])
        )
        assert isinstance(measured, LabelPredictions) is (label_chunk is not None)
        roads.fit_on_validation(own, fitting, memory_limit_mb=100.0)
        found.append((own, roads.evaluate(own, measured)))
    return found


def compare(rows: Evaluation, labels: Evaluation) -> None:
    """The same metrics; floats up to the order of float32 sums."""
    assert list(rows.metrics) == list(labels.metrics)
    assert rows.reasons == labels.reasons
    for name, value in rows.metrics.items():
        assert labels.metrics[name] == (
            value if value is None else pytest.approx(value, rel=2e-6, abs=1e-9)
        ), name
    assert list(rows.suite.per_label) == list(labels.suite.per_label)
    for name, column_L in rows.suite.per_label.items():
        torch.testing.assert_close(
            labels.suite.per_label[name], column_L, rtol=2e-6, atol=2e-7, equal_nan=True, msg=name
        )
    for name, diagram in rows.suite.reliability.items():
        for here, there in zip(labels.suite.reliability[name].overall, diagram.overall, strict=True):
            torch.testing.assert_close(here, there, rtol=1e-6, atol=1e-7, equal_nan=True)
    curves = labels.suite.average_precision
    for here, there in zip(curves, rows.suite.average_precision, strict=True):
        torch.testing.assert_close(here, there, rtol=1e-6, atol=1e-7, equal_nan=True)


SIGMOID = ("sigmoid", "binary_cross_entropy")
SOFTMAX = ("softmax", "categorical_cross_entropy", "none", "global_threshold", {})
CASES = [
    (
        *SIGMOID,
        "temperature",
        "fixed",
        {"loss": {"positive_weight": "balanced", "label_smoothing": 0.1}},
        True,
    ),
    (*SIGMOID, "none", "per_label_threshold", {}, False),
    (*SIGMOID, "temperature", "scut_fbr", {}, True),
    (*SIGMOID, "none", "plug_in", {"decision": {"average": "macro"}}, False),
    (*SIGMOID, "none", "most_probable", {}, False),
    (*SIGMOID, "none", "top_k", {"decision": {"k": 3}}, True),
    ("sigmoid", "asymmetric", "none", "global_threshold", {}, True),
    (*SOFTMAX, True),
    (*SOFTMAX, False),
    ("factorised", "factorised_kl_mse", "none", "by_count", {}, False),
    (
        "factorised_negative_binomial",
        "factorised_kl_negative_binomial",
        "none",
        "per_label_threshold",
        {},
        True,
    ),
]


@pytest.mark.parametrize(("head", "loss", "calibration", "decision", "options", "dense"), CASES, ids=str)
def test_equals_the_evaluation_by_rows(head, loss, calibration, decision, options, dense):
    made = classifier(head, loss, calibration, decision, options, dense=dense)
    data = {"unknown": dense, "weighted": dense, "dense": dense}
    (by_rows, rows), (by_labels, labels) = both(made, split(**data), split(**data, seed=5))
    compare(rows, labels)
    thresholds_L = by_rows.decision.thresholds()
    if thresholds_L is not None:
        assert torch.allclose(by_labels.decision.thresholds(), thresholds_L, rtol=1e-3)


def predictions(made: Classifier, rows: Split) -> LabelPredictions:
    found = roads.predict_split(made.network, rows, tiny.settings(label_chunk=4, memory_limit_mb=0.01), "cpu")
    assert isinstance(found, LabelPredictions)
    return found


def test_the_temperature_is_that_of_all_logits():
    made = classifier(*SIGMOID, "temperature", "fixed", {}, dense=False)
    (by_rows, _), (by_labels, _) = both(made, split(dense=False))
    expected = float(by_rows.calibrator.temperature)
    assert expected > 1.1
    assert float(by_labels.calibrator.temperature) == pytest.approx(expected, rel=1e-6)


class Largest(TorchDispatchMode):
    """The largest tensor that anything makes."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for value in made if isinstance(made, tuple | list) else (made,):
            if isinstance(value, Tensor):
                self.numel = max(self.numel, value.numel())
        return made


@pytest.mark.parametrize("decision", ["fixed", "top_k"])
def test_rows_times_labels_are_nowhere(decision):
    made = classifier(*SIGMOID, "none", decision, {}, dense=False)
    found = predictions(made, split(dense=False))
    with Largest() as largest:
        roads.fit_on_validation(made, found, memory_limit_mb=1.0)
        roads.evaluate(made, found, average_precision=False)
    assert largest.numel < N * L


def test_without_the_costly_families():
    made = classifier(*SIGMOID, "none", "fixed", {}, dense=False)
    found = roads.evaluate(
        made, predictions(made, split(dense=False)), ranking=False, average_precision=False
    )
    assert not {"map", "lrap", "precision_at_1"} & {*found.metrics}
    assert found.suite.average_precision is None


def test_curves_of_very_many_labels_are_left_out(monkeypatch):
    monkeypatch.setattr(label_chunk_evaluation, "_MOST_CURVES", L - 1)
    made = classifier(*SIGMOID, "none", "fixed", {}, dense=False)
    found = roads.evaluate(made, predictions(made, split(dense=False)))
    assert found.suite.average_precision is None
    assert found.metrics["map"] == pytest.approx(float(found.suite.per_label["ap"].nanmean()))


def test_scores_that_are_nan_are_a_fault():
    made = classifier(*SIGMOID, "none", "fixed", {}, dense=False)
    found = predictions(made, split(dense=False))
    torch.nn.init.constant_(made.network.head.logits.bias_L, math.nan)
    with pytest.raises(Fault, match="training has diverged"):
        roads.evaluate(made, found)


def test_a_split_of_which_nothing_is_known_is_refused():
    made = classifier(*SIGMOID, "none", "fixed", {}, dense=False)
    rows = replace(split(dense=False), y_NL=torch.full((N, L), torch.nan))
    with pytest.raises(UserError, match="Every target of this split is unknown"):
        roads.evaluate(made, predictions(made, rows))


def test_the_network_goes_on_training():
    made = classifier(*SIGMOID, "none", "fixed", {}, dense=True)
    made.network.train()
    roads.evaluate(made, predictions(made, split(dense=True)))
    assert made.network.training


def test_texts_are_measured_in_the_order_of_their_lengths():
    generator = torch.Generator().manual_seed(0)
    length_N = torch.randint(1, 9, (N,), generator=generator)
    spec = InputSpec("tokens", (8,), vocabulary=20, padding=0)
    ids_M = torch.randint(1, 20, (int(length_N.sum()),), generator=generator)
    rows = Split(
        inputs={MAIN: TokenRows(ids_M, length_N.cumsum(0) - length_N, length_N, spec)},
        y_NL=label_rows(targets()),
        weight_N=torch.linspace(0.5, 1.5, N),
    )
    made = classifier(*SIGMOID, "none", "fixed", {}, dense=True)
    backbone = part("backbone", "embedding_bag", Backbone, {"embedding": 8}, inputs={MAIN: spec})
    own = replace(made, network=Network(backbone=backbone, head=made.network.head))
    (_, by_rows), (_, by_labels) = both(own, rows)
    compare(by_rows, by_labels)
