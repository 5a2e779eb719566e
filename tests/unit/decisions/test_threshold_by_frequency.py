import numpy as np
import pytest
import torch

from mlc.decisions.threshold_by_frequency import ThresholdByFrequency, cut_by_frequency
from mlc.decisions.thresholds import PerLabelThreshold
from mlc.outputs.scores_only import ScoresOnly


def sample(kind: str = "real", seed: int = 0) -> tuple[ScoresOnly, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    z_NL = torch.randn(61, 5, generator=g)
    y_NL = (z_NL + torch.randn(61, 5, generator=g) > torch.tensor([1.5, 0, 99, 2, 0.7])).float()
    if kind == "tied":
        z_NL = z_NL.mul(2).round()
    return ScoresOnly(z_NL, z_NL), y_NL


def f1(hits: float, decided: float, positives: float) -> float:
    return 2 * hits / (decided + positives) if decided + positives else 0.0


def slow_cuts(scores: np.ndarray, y: np.ndarray, order: list[int]) -> np.ndarray:
    """Thresholds label by label, trying each cut with all counts made anew."""
    thresholds = np.full(scores.shape[1], np.inf)
    for done, label in enumerate(order, start=1):
        distinct = np.unique(scores[:, label]).astype(np.float64)
        lowest = np.nextafter(np.float32(distinct[0]), np.float32(-np.inf))
        candidates = [distinct[-1], *((distinct[1:] + distinct[:-1]) / 2)[::-1], lowest]
        values = []
        for candidate in candidates:
            thresholds[label] = candidate
            decided = scores[:, order[:done]] > thresholds[order[:done]]
            true = y[:, order[:done]] > 0
            own = f1((decided & true)[:, -1].sum(), decided[:, -1].sum(), true[:, -1].sum())
            values.append(own / done + f1((decided & true).sum(), decided.sum(), true.sum()))
        thresholds[label] = candidates[int(np.argmax(values))]
    return thresholds


@pytest.mark.parametrize("kind", ["real", "tied"])
@pytest.mark.parametrize("folds", [1, 3])
def test_agrees_with_a_slow_transcription(kind: str, folds: int) -> None:
    output, y_NL = sample(kind)
    rule = ThresholdByFrequency(n_labels=5, folds=folds)
    rule.check(output)
    rule.fit(output, y_NL)
    order = sorted(range(5), key=lambda label: -float(y_NL[:, label].sum()))
    rows = np.array_split(torch.randperm(61, generator=torch.Generator().manual_seed(0)).numpy(), folds)
    scores, y = output.scores().numpy(), y_NL.numpy()
    expected = np.mean([slow_cuts(scores[r], y[r], order) for r in rows], axis=0)
    expected[2] = scores[:, 2].max()
    assert rule.fallback_L.tolist() == [False, False, True, False, False]
    np.testing.assert_allclose(rule.thresholds().numpy(), expected, rtol=1e-6)


def test_the_first_label_gets_its_own_best_cut() -> None:
    output, y_NL = sample()
    alone = PerLabelThreshold(n_labels=5)
    alone.fit(output, y_NL)
    first_L = cut_by_frequency(
        output.scores(), y_NL, torch.ones_like(y_NL).double(), torch.tensor([1, 0, 2, 3, 4])
    )
    assert first_L[1] == alone.thresholds()[1]


def test_a_hopeless_rare_label_decides_less_than_by_its_own_f1() -> None:
    z_NL = torch.linspace(1, 0, 300)[:, None].repeat(1, 2)
    places_N = torch.arange(300)
    y_NL = torch.stack((places_N < 150, (places_N + 1) % 40 == 0), dim=1).float()
    output = ScoresOnly(z_NL, z_NL)
    rule, alone = ThresholdByFrequency(n_labels=2, folds=1), PerLabelThreshold(n_labels=2)
    rule.fit(output, y_NL)
    alone.fit(output, y_NL)
    assert alone(output)[:, 1].sum() > 200
    assert rule(output)[:, 1].sum() == 0
    assert torch.equal(rule(output)[:, 0], y_NL[:, 0].bool())


def test_fit_is_deterministic_leaves_the_random_state_alone_and_is_restored() -> None:
    output, y_NL = sample()
    first, second, restored = (ThresholdByFrequency(n_labels=5, folds=3) for _ in range(3))
    before = torch.get_rng_state()
    first.fit(output, y_NL)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(7)
    second.fit(output, y_NL)
    assert torch.equal(first.thresholds(), second.thresholds())
    restored.load_state_dict(first.state_dict())
    assert torch.equal(restored(output), first(output))


def test_fewer_rows_than_folds_is_a_fold_for_each_row() -> None:
    output, y_NL = sample()
    rule = ThresholdByFrequency(n_labels=5, folds=9)
    rule.fit(output.map_tensors(lambda t: t[:2]), y_NL[:2])
    assert rule.thresholds().isfinite().all()


def test_the_order_of_labels_goes_by_weight() -> None:
    g = torch.Generator().manual_seed(7)
    z_NL, noise_NL = torch.randn(80, 3, generator=g), torch.randn(80, 3, generator=g)
    y_NL = (z_NL + 2 * noise_NL > torch.tensor([0.0, 1, 2])).float()
    k_N = 1 + (12 * y_NL[:, 2] + 3 * y_NL[:, 1] * (1 - y_NL[:, 0])).long()
    output = ScoresOnly(z_NL, z_NL)
    assert y_NL.sum(0).argsort(descending=True).tolist() == [0, 1, 2]
    assert (k_N @ y_NL.long()).argsort(descending=True)[0] == 2
    rule, repeated = ThresholdByFrequency(n_labels=3, folds=1), ThresholdByFrequency(n_labels=3, folds=1)
    rule.fit(output, y_NL, k_N.float())
    repeated.fit(output.map_tensors(lambda t: t.repeat_interleave(k_N, 0)), y_NL.repeat_interleave(k_N, 0))
    assert torch.equal(rule.thresholds(), repeated.thresholds())
    unordered_L = cut_by_frequency(z_NL, y_NL, k_N[:, None].expand(-1, 3).double(), torch.arange(3))
    assert not torch.equal(rule.thresholds(), unordered_L)
