import math

import numpy as np
import pytest
import torch
from torch import Tensor

from mlc.decisions.conformal import ConformalThreshold
from mlc.outputs.scores_only import ScoresOnly


def scores_only(scores_NL: Tensor) -> ScoresOnly:
    return ScoresOnly(scores_NL, scores_NL)


def sample(rows: int, seed: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    z_NL = torch.randn(rows, 6, generator=g)
    return z_NL, torch.bernoulli(torch.sigmoid(2 * z_NL - 1), generator=g)


def missed_shares(decided_NL: Tensor, y_NL: Tensor) -> np.ndarray:
    missed_N = (y_NL * ~decided_NL).sum(1)
    return (missed_N / y_NL.sum(1).clamp(min=1)).double().numpy()


def fitted(scores_NL: Tensor, y_NL: Tensor, alpha: float) -> ConformalThreshold:
    rule = ConformalThreshold(n_labels=y_NL.shape[1], false_negative_rate=alpha)
    rule.check(scores_only(scores_NL))
    rule.fit(scores_only(scores_NL), y_NL)
    return rule


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3, 0.9])
def test_is_the_highest_threshold_that_satisfies_the_bound(alpha: float, rounded: bool) -> None:
    scores_NL, y_NL = sample(40, seed=0)
    y_NL[3] = 0
    if rounded:
        scores_NL = scores_NL.mul(2).round() / 2

    def bound(threshold: float) -> float:
        risk = missed_shares(scores_NL > threshold, y_NL).mean()
        return 40 / 41 * risk + 1 / 41

    rule = fitted(scores_NL, y_NL, alpha)
    threshold = rule.thresholds()[0].item()
    assert (rule.thresholds() == threshold).all()
    assert not rule.fallback_L.any()
    assert bound(threshold) <= alpha + 1e-9
    tried = [t for t in scores_NL.unique().tolist() if t > threshold]
    assert all(bound(t) > alpha for t in tried)
    assert any(bound(t) <= alpha for t in scores_NL.unique().tolist() if t <= threshold) or not tried


def test_mean_rate_of_missed_labels_stays_under_alpha_over_200_random_splits() -> None:
    scores_NL, y_NL = sample(400, seed=1)
    rates, g = [], torch.Generator().manual_seed(2)
    for _ in range(200):
        order_N = torch.randperm(400, generator=g)
        calibration_N, test_N = order_N[:60], order_N[60:]
        rule = fitted(scores_NL[calibration_N], y_NL[calibration_N], 0.1)
        rates.append(missed_shares(rule(scores_only(scores_NL[test_N])), y_NL[test_N]).mean())
    standard_error = np.std(rates, ddof=1) / math.sqrt(200)
    assert np.mean(rates) <= 0.1 + 2 * standard_error
    assert np.mean(rates) >= 0.1 - 2 / 61 - 2 * standard_error  # and it is not bounded by deciding everything


def test_a_bound_that_is_met_exactly_holds() -> None:
    scores_NL = torch.arange(99.0)[:, None]
    rule = fitted(scores_NL, torch.ones(99, 1), 0.1)  # 0.1 * 100 - 1: nine rows may be missed
    assert (~rule(scores_only(scores_NL))).sum() == 9


def test_with_too_few_rows_everything_is_decided_and_said() -> None:
    scores_NL, y_NL = sample(9, seed=3)
    assert not fitted(scores_NL, y_NL, 0.1).fallback_L.any()
    rule = fitted(scores_NL[:8], y_NL[:8], 0.1)
    assert rule.fallback_L.all()
    assert rule(scores_only(torch.full((1, 6), -1e30))).all()
    restored = ConformalThreshold(n_labels=6, false_negative_rate=0.1)
    restored.load_state_dict(rule.state_dict())
    assert restored.fallback_L.all()
    assert torch.equal(restored.thresholds(), rule.thresholds())


def test_where_no_label_is_true_nothing_is_decided() -> None:
    scores_NL, y_NL = sample(20, seed=4)
    assert not fitted(scores_NL, torch.zeros_like(y_NL), 0.1)(scores_only(scores_NL)).any()
