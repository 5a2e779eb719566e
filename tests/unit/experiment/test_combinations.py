"""Settings of the trainer that cannot go together are refused before anything is trained."""

from typing import Any

import pytest

from mlc.backbones.mlp import MLP
from mlc.backbones.sparse_linear import SparseLinear
from mlc.calibration.none import NoCalibration
from mlc.decisions.fixed import FixedThreshold
from mlc.errors import UserError
from mlc.experiment.combinations import check_combinations, combination_notes
from mlc.heads.sigmoid import SigmoidHead
from mlc.losses.soft_f1 import SoftF1
from mlc.model import Auxiliary, Classifier, Network
from mlc.training import processes
from mlc.training.linear_baseline import LinearBaseline
from tests.unit.training import tiny

LINEAR = LinearBaseline(
    model="svm",
    cost=1.0,
    balanced=False,
    eval_batch_size=8,
    device="cpu",
    separate_fit=False,
    memory_limit_mb=10.0,
)


def classifier(*, norm: Any = "none", coupled: bool = False, coupled_beside: bool = False) -> Classifier:
    soft_f1 = SoftF1(slope=1.0, offset=0.0, epsilon=1e-6)
    backbone = MLP(inputs=tiny.INPUTS, widths=[4], input_dropout=0.0, dropout=0.0, norm=norm)
    beside = None
    if coupled_beside:
        head = SigmoidHead(in_features=4, labels=tiny.statistics(), prior_bias=False)
        beside = Auxiliary(feature="layer1", head=head, loss=soft_f1, weight=0.3)
    head = SigmoidHead(in_features=4, labels=tiny.statistics(), prior_bias=False)
    return Classifier(
        network=Network(backbone=backbone, head=head, auxiliary=beside),
        loss=soft_f1 if coupled else tiny.loss(),
        calibrator=NoCalibration(n_labels=tiny.LABELS),
        decision=FixedThreshold(n_labels=tiny.LABELS, threshold=0.5),
    )


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if there were two processes."""
    monkeypatch.setattr(processes, "size", lambda: 2)


def check(settings: dict[str, Any], *, rows: int = 100, **kind: Any) -> None:
    check_combinations(tiny.settings(**settings), classifier(**kind), rows=rows)


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({}, {}),
        ({"batch_size": 1}, {}),
        ({"batch_size": 2}, {"norm": "batch"}),
        ({"micro_batch_size": 1}, {"norm": "layer"}),
        ({"micro_batch_size": 2}, {"norm": "batch"}),
        ({}, {"coupled": True}),
        ({"micro_batch_size": 6}, {"coupled": True}),  # as large as the batch: nothing is cut
        ({"compile": "default", "deterministic": True}, {}),
        ({"detect_anomaly": True}, {}),
        ({"profile_steps": 99, "max_steps": 3}, {}),
        ({"profile_steps": 1, "overfit_batches": 1, "max_epochs": 3}, {}),
    ],
)
def test_what_goes_together(settings: dict[str, Any], kind: dict[str, Any]) -> None:
    check(settings, **kind)


@pytest.mark.parametrize(
    ("settings", "kind", "named"),
    [
        ({"compile": "default", "detect_anomaly": True}, {}, ["trainer.detect_anomaly", "trainer.compile"]),
        ({"compile": "max-autotune", "deterministic": True}, {}, ["max-autotune", "trainer.deterministic"]),
        ({"batch_size": 1}, {"norm": "batch"}, ["trainer.batch_size=1", "batch normalisation"]),
        ({}, {"norm": "batch", "rows": 1}, ["1 training rows", "batch normalisation"]),
        ({"micro_batch_size": 1}, {"norm": "batch"}, ["trainer.micro_batch_size=1", "batch normalisation"]),
        ({"micro_batch_size": 7}, {}, ["trainer.micro_batch_size=7", "trainer.batch_size=6"]),
        ({"profile_steps": 1, "max_steps": 2}, {}, ["trainer.profile_steps=1", "after step 2:"]),
        ({"profile_steps": 4, "max_epochs": 0}, {}, ["trainer.profile_steps=4", "after step 0:"]),
        ({"profile_steps": 1, "max_epochs": 1}, {"rows": 12}, ["trainer.profile_steps=1", "after step 2:"]),
        (
            {"profile_steps": 1, "overfit_batches": 1, "max_epochs": 2},
            {},
            ["trainer.profile_steps=1", "after step 2:"],
        ),
        ({"micro_batch_size": 5}, {"coupled": True}, ["SoftF1", "trainer.micro_batch_size=null"]),
        ({"micro_batch_size": 5}, {"coupled_beside": True}, ["SoftF1", "trainer.micro_batch_size=null"]),
    ],
)
def test_what_cannot_work_is_refused_by_both_names(
    settings: dict[str, Any], kind: dict[str, Any], named: list[str]
) -> None:
    with pytest.raises(UserError) as refused:
        check(settings, **kind)
    said = str(refused.value)
    assert all(name in said for name in named), said
    assert "\n" not in said


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize(
    ("settings", "kind", "named"),
    [
        ({"batch_size": 1}, {}, ["trainer.batch_size=1", "2 processes"]),
        ({"batch_size": 3}, {"norm": "batch"}, ["trainer.batch_size=3", "batch normalisation"]),
        ({}, {"coupled": True}, ["SoftF1", "2 processes"]),
    ],
)
def test_what_cannot_work_in_two_processes(
    settings: dict[str, Any], kind: dict[str, Any], named: list[str]
) -> None:
    with pytest.raises(UserError) as refused:
        check(settings, **kind)
    assert all(name in str(refused.value) for name in named), str(refused.value)


def test_the_linear_baseline_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    check_combinations(LINEAR, classifier(), rows=1)
    monkeypatch.setattr(processes, "size", lambda: 2)
    with pytest.raises(UserError, match="trainer=linear_baseline works in one process"):
        check_combinations(LINEAR, classifier(), rows=100)


def notes(**given: Any) -> list[str]:
    norm = given.pop("norm", "none")
    return combination_notes(tiny.settings(**given), classifier(norm=norm), "cpu")


def test_what_goes_together_but_not_as_one_may_expect_is_said() -> None:
    assert notes() == notes(micro_batch_size=2) == notes(norm="batch") == []
    assert notes(norm="batch", micro_batch_size=6) == [], "nothing is cut"
    (cut,) = notes(norm="batch", micro_batch_size=2)
    assert "micro batch" in cut
    (compiled,) = notes(compile="default")
    assert "trainer.compile" in compiled
    assert "CUDA graphs" not in compiled
    assert "CUDA graphs" in notes(compile="reduce-overhead")[0]
    assert combination_notes(tiny.settings(compile="default"), classifier(), "cuda") == []
    sparse = classifier()
    sparse.network.backbone.add_module("first", SparseLinear(4, 4))
    (given_up,) = combination_notes(tiny.settings(compile="default"), sparse, "cuda")
    assert "sparse rows" in given_up


@pytest.mark.usefixtures("two")
def test_batch_normalisation_in_two_processes_is_said() -> None:
    assert notes() == []
    (said,) = notes(norm="batch")
    assert "one process" in said


@pytest.mark.parametrize("native", [False, True])
def test_a_precision_that_is_emulated_is_said(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlc.experiment.combinations.multiplies_bf16", lambda: native)
    assert notes(precision="fp32") == []
    assert ["precision=bf16 is emulated" in note for note in notes(precision="bf16")] == [True] * (not native)
    assert ["precision=fp16 is emulated" in note for note in notes(precision="fp16")] == [True]
    assert combination_notes(tiny.settings(precision="fp16"), classifier(), "cuda") == []
