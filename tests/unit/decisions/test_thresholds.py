import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, precision_recall_curve
from torch import Tensor

from mlc.decisions.thresholds import GlobalThreshold, PerLabelThreshold
from mlc.outputs.calibrated import CalibratedLabels
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.scores_only import ScoresOnly


def scores_only(scores_NL: Tensor) -> ScoresOnly:
    return ScoresOnly(scores_NL, scores_NL)


def sample(kind: str, *, rows: int = 40, n_labels: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Float32 scores of one kind, and targets that follow them loosely."""
    g = torch.Generator().manual_seed(seed)
    z_NL = torch.randn(rows, n_labels, generator=g)
    y_NL = (z_NL + torch.randn(rows, n_labels, generator=g) > 0.8).float()
    y_NL[0] = 1
    smallest = torch.finfo(torch.float32).smallest_normal
    scores_NL = {
        "probabilities": torch.sigmoid(z_NL),
        "tied": torch.sigmoid(z_NL).mul(5).round() / 5,
        "saturated at one": torch.sigmoid(z_NL * 16),
        "saturated at zero": torch.sigmoid(z_NL * 100 - 100),
        "denormal": torch.sigmoid(z_NL) * smallest / 1000,
        "neighbouring floats": 1 - (z_NL * 2).round().clamp(-4, 4) * 2**-24,
        "unbounded": z_NL * 1e4,
        "all equal": torch.full_like(z_NL, 0.3),
    }[kind]
    return scores_NL, y_NL


KINDS = [
    "probabilities",
    "tied",
    "saturated at one",
    "saturated at zero",
    "denormal",
    "neighbouring floats",
    "unbounded",
    "all equal",
]


def f1(decided: np.ndarray, y: np.ndarray) -> float:
    return f1_score(y.ravel(), decided.ravel(), zero_division=0)


def best_f1_by_trying_every_cut(scores: np.ndarray, y: np.ndarray) -> float:
    return max(f1(scores >= cut, y) for cut in np.unique(scores))


def best_f1_of_curve(scores: np.ndarray, y: np.ndarray) -> float:
    precision, recall, _ = precision_recall_curve(y.ravel(), scores.ravel())
    total = precision + recall
    return (2 * precision * recall / np.where(total > 0, total, 1)).max()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [0, 1])
def test_global_threshold_reaches_the_best_micro_f1(kind: str, seed: int) -> None:
    scores_NL, y_NL = sample(kind, rows=15, seed=seed)
    rule = GlobalThreshold(n_labels=6)
    rule.check(scores_only(scores_NL))
    rule.fit(scores_only(scores_NL), y_NL)
    reached = f1(rule(scores_only(scores_NL)).numpy(), y_NL.numpy())
    assert reached == best_f1_by_trying_every_cut(scores_NL.numpy(), y_NL.numpy())
    assert reached == pytest.approx(best_f1_of_curve(scores_NL.numpy(), y_NL.numpy()), rel=1e-12)
    assert len(rule.thresholds().unique()) == 1
    assert rule.thresholds().dtype == torch.float32


@pytest.mark.parametrize("kind", KINDS)
def test_per_label_thresholds_reach_the_best_f1_of_each_label(kind: str) -> None:
    scores_NL, y_NL = sample(kind)
    rule = PerLabelThreshold(n_labels=6)
    rule.check(scores_only(scores_NL))
    rule.fit(scores_only(scores_NL), y_NL)
    decided_NL = rule(scores_only(scores_NL)).numpy()
    assert not rule.fallback_L.any()
    for label in range(6):
        scores, y = scores_NL[:, label].numpy(), y_NL[:, label].numpy()
        reached = f1(decided_NL[:, label], y)
        assert reached == best_f1_by_trying_every_cut(scores, y)
        assert reached == pytest.approx(best_f1_of_curve(scores, y), rel=1e-12)


def test_labels_without_positives_are_decided_only_above_all_seen_scores() -> None:
    scores_NL, y_NL = sample("probabilities", n_labels=3)
    y_NL[:, 1] = 0
    rule = PerLabelThreshold(n_labels=3)
    rule.fit(scores_only(scores_NL), y_NL)
    assert rule.fallback_L.tolist() == [False, True, False]
    assert rule.thresholds()[1] == scores_NL[:, 1].max()
    assert not rule(scores_only(scores_NL))[:, 1].any()
    assert rule(scores_only(torch.ones(1, 3)))[0, 1]


def test_validation_data_without_any_positive_decides_nothing() -> None:
    scores_NL, _ = sample("probabilities")
    rule = GlobalThreshold(n_labels=6)
    rule.fit(scores_only(scores_NL), torch.zeros_like(scores_NL))
    assert not rule(scores_only(scores_NL)).any()


@pytest.mark.parametrize("make", [GlobalThreshold, PerLabelThreshold])
def test_state_restores_the_fitted_rule(make: type[GlobalThreshold] | type[PerLabelThreshold]) -> None:
    z_NL, y_NL = sample("unbounded")
    output = CalibratedLabels(z_NL / 1e4, IndependentLabels(z_NL))
    rule, restored = make(n_labels=6), make(n_labels=6)
    rule.fit(output, y_NL)
    assert not torch.equal(rule(output), restored(output))
    restored.load_state_dict(rule.state_dict())
    assert torch.equal(rule(output), restored(output))
    assert torch.equal(rule.thresholds(), restored.thresholds())


def test_double_scores_are_compared_as_they_were_fitted() -> None:
    scores_NL = torch.tensor([[1.0], [1 + 2**-40], [0.5]], dtype=torch.float64)
    rule = GlobalThreshold(n_labels=1)
    rule.fit(scores_only(scores_NL), torch.zeros(3, 1))
    assert not rule(scores_only(scores_NL)).any()
