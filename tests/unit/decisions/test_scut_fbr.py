from typing import Literal

import numpy as np
import pytest
import torch

from mlc.decisions.scut_fbr import SCutFBR
from mlc.decisions.thresholds import PerLabelThreshold
from mlc.outputs.scores_only import ScoresOnly


def sample(seed: int = 0) -> tuple[ScoresOnly, torch.Tensor]:
    """Labels from well to badly ranked, the last without positives."""
    g = torch.Generator().manual_seed(seed)
    z_NL = torch.randn(80, 6, generator=g)
    noise_NL = torch.randn(80, 6, generator=g) * torch.tensor([0.2, 0.5, 1, 2, 4, 1])
    y_NL = (z_NL + noise_NL > torch.tensor([0.0, 0.5, 1, 2.5, 6, 99])).float()
    return ScoresOnly(z_NL, z_NL), y_NL


def slow_scut_fbr(scores: np.ndarray, y: np.ndarray, fbr: float, cautious: float) -> np.ndarray:
    """Decisions on the same rows: try each cut of one label, and give up the label under fbr."""
    decided = [scores >= cut for cut in np.unique(scores)]
    values = [2 * y[d].sum() / (d.sum() + y.sum()) for d in decided]
    if max(values) < fbr or not y.any():
        return scores > cautious
    return scores >= np.unique(scores)[len(values) - 1 - np.argmax(values[::-1])]


@pytest.mark.parametrize("fbr", [0.0, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("below", ["highest_score", "never"])
def test_agrees_with_a_slow_transcription(fbr: float, below: Literal["highest_score", "never"]) -> None:
    output, y_NL = sample()
    rule = SCutFBR(n_labels=6, fbr=fbr, below=below)
    rule.check(output)
    rule.fit(output, y_NL)
    decided_NL = rule(output).numpy()
    scores, y = output.scores().numpy(), y_NL.numpy()
    for label in range(6):
        cautious = scores[:, label].max() if below == "highest_score" else np.inf
        assert (decided_NL[:, label] == slow_scut_fbr(scores[:, label], y[:, label], fbr, cautious)).all()
    assert rule.fallback_L[-1]
    assert int(rule.fallback_L.sum()) == {0.0: 1, 0.3: 2, 0.6: 4, 1.0: 6}[fbr]


def test_a_distrusted_label_is_decided_above_all_seen_scores_or_never() -> None:
    output, y_NL = sample()
    higher = ScoresOnly(output.scores()[:1], torch.full((1, 6), 99.0))
    for below, decided in (("highest_score", True), ("never", False)):
        rule = SCutFBR(n_labels=6, fbr=1.0, below=below)
        rule.fit(output, y_NL)
        assert not rule(output).any()
        assert (rule(higher) == decided).all()


def test_without_a_bar_it_is_the_threshold_of_each_label() -> None:
    output, y_NL = sample()
    rule, plain = SCutFBR(n_labels=6, fbr=0.0, below="highest_score"), PerLabelThreshold(n_labels=6)
    rule.fit(output, y_NL)
    plain.fit(output, y_NL)
    assert torch.equal(rule.thresholds(), plain.thresholds())
    assert torch.equal(rule.fallback_L, plain.fallback_L)


def test_a_label_that_reaches_the_bar_exactly_is_trusted() -> None:
    scores = torch.tensor([[3.0], [2], [1]])
    rule = SCutFBR(n_labels=1, fbr=2 / 3, below="never")
    rule.fit(ScoresOnly(scores, scores), torch.tensor([[0.0], [1], [0]]))
    assert not rule.fallback_L.any()


def test_state_restores_the_fitted_rule() -> None:
    output, y_NL = sample()
    rule, restored = (SCutFBR(n_labels=6, fbr=0.5, below="never") for _ in range(2))
    rule.fit(output, y_NL)
    restored.load_state_dict(rule.state_dict())
    assert torch.equal(restored.thresholds(), rule.thresholds())
    assert torch.equal(restored.fallback_L, rule.fallback_L)
