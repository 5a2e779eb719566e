import numpy as np
import pytest
import torch

from mlc.decisions.plug_in import PlugInThreshold
from mlc.decisions.thresholds import PerLabelThreshold
from mlc.outputs.calibrated import CalibratedLabels
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.shares import LabelShares


def marginals(rows: int, seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.sigmoid(torch.randn(rows, 4, generator=g) * 2 + torch.tensor([1.0, 0, -2, -5]))


def expected_f1(p: np.ndarray, threshold: float) -> float:
    decided = p > threshold
    return 2 * p[decided].sum() / (decided.sum() + p.sum())


@pytest.mark.parametrize("average", ["macro", "micro"])
def test_thresholds_are_the_best_of_a_grid_and_half_of_what_they_reach(average) -> None:
    p_NL = marginals(150)
    rule = PlugInThreshold(n_labels=4, average=average)
    rule.fit(IndependentLabels(p_NL.logit()), torch.zeros_like(p_NL))
    columns = p_NL.T.double().numpy() if average == "macro" else p_NL.reshape(1, -1).double().numpy()
    for p, threshold in zip(columns, rule.thresholds().tolist(), strict=False):
        reached = expected_f1(p, threshold)
        assert reached >= max(expected_f1(p, t) for t in np.linspace(0, 1, 2001)) - 1e-6
        assert threshold == pytest.approx(reached / 2, rel=1e-5)
    assert len(rule.thresholds().unique()) == len(columns)


def test_true_probabilities_give_nearly_the_best_cut_for_the_targets() -> None:
    p_NL = marginals(40_000)
    y_NL = torch.bernoulli(p_NL, generator=torch.Generator().manual_seed(1))
    output = CalibratedLabels(p_NL.logit(), LabelShares(p_NL))
    rule, fitted = PlugInThreshold(n_labels=4, average="macro"), PerLabelThreshold(n_labels=4)
    for each in (rule, fitted):
        each.fit(output, y_NL)
    scores = []
    for each in (rule, fitted):
        decided_NL = each(output).float()
        scores.append(2 * (decided_NL * y_NL).sum(0) / (decided_NL.sum(0) + y_NL.sum(0)))
    torch.testing.assert_close(scores[0], scores[1], rtol=0, atol=0.01)


def test_targets_do_not_matter_and_extremes_are_finite() -> None:
    logits_NL = torch.tensor([[1e4, -1e4, 0.0], [200.0, -200.0, 0.0]])
    output = IndependentLabels(logits_NL)
    first, second = (PlugInThreshold(n_labels=3, average="macro") for _ in range(2))
    first.fit(output, torch.zeros(2, 3))
    second.fit(output, torch.ones(2, 3))
    assert torch.equal(first.thresholds(), second.thresholds())
    assert first.thresholds().tolist() == pytest.approx([0.5, 0, 1 / 3])
    assert first(output).tolist() == [[True, False, True]] * 2
    second = PlugInThreshold(n_labels=3, average="macro")
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.thresholds(), second.thresholds())


@pytest.mark.parametrize("average", ["macro", "micro"])
def test_a_label_that_is_never_true_has_its_threshold_all_the_same(average) -> None:
    p_NL = marginals(30)
    rule, unknown = PlugInThreshold(n_labels=4, average=average), PlugInThreshold(n_labels=4, average=average)
    y_NL = torch.zeros_like(p_NL)
    rule.fit(IndependentLabels(p_NL.logit()), y_NL)
    assert not rule.fallback_L.any()
    y_NL[:, 3] = torch.nan
    unknown.fit(IndependentLabels(p_NL.logit()), y_NL)
    assert unknown.fallback_L.tolist() == [False, False, False, average == "macro"]
    assert (unknown.thresholds()[3] == 0.5) == (average == "macro")
