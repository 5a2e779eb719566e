import numpy as np
import pytest
import torch
from torch import Tensor

from mlc.calibration.histogram import Histogram
from tests.unit.calibration.outputs import EXTREMES, every_output, sample, scores_only


def fitted(s_NL: Tensor, y_NL: Tensor, *, bins: int = 10, shrinkage: float = 2.0) -> Histogram:
    calibrator = Histogram(n_labels=y_NL.shape[1], bins=bins, shrinkage=shrinkage)
    calibrator.check(scores_only(s_NL))
    calibrator.fit(scores_only(s_NL), y_NL)
    return calibrator


@pytest.mark.parametrize("bins", [1, 4, 7])
@pytest.mark.parametrize("rounded", [False, True])
def test_bins_agree_with_numpy(bins: int, rounded: bool) -> None:
    s_NL, y_NL = sample(103, 3, seed=0)
    if rounded:
        s_NL = s_NL.round()
    p_NL = fitted(s_NL, y_NL, bins=bins, shrinkage=1.5)(scores_only(s_NL)).marginals()
    for label in range(3):
        s, y = s_NL[:, label].numpy(), y_NL[:, label].numpy()
        edges = [np.sort(s)[103 * k // bins] for k in range(1, bins)]
        bin_of = np.digitize(s, edges)
        if not rounded:
            assert np.ptp(np.bincount(bin_of)) <= 1
        frequency = (y.sum() + 1) / 105
        for k in np.unique(bin_of):
            expected = (y[bin_of == k].sum() + 1.5 * frequency) / ((bin_of == k).sum() + 1.5)
            assert p_NL[:, label].numpy()[bin_of == k] == pytest.approx(expected, rel=1e-5)


def test_more_shrinkage_is_nearer_to_the_frequency() -> None:
    s_NL, y_NL = sample(200, 2, seed=1)
    spread = [
        fitted(s_NL, y_NL, shrinkage=m)(scores_only(s_NL)).marginals().std().item() for m in (0.1, 10.0, 1e6)
    ]
    assert spread[0] > spread[1] > spread[2]
    assert spread[2] < 0.05


def test_separated_and_extreme_scores_stay_finite() -> None:
    s_NL, _ = sample(100, 3, seed=2)
    s_NL[:9] = EXTREMES
    y_NL = (s_NL > 0).float()
    y_NL[:, 1] = 1
    calibrator = fitted(s_NL, y_NL)
    assert calibrator.fallback_L.tolist() == [False, True, False]
    assert calibrator.logit_LK.isfinite().all()
    assert calibrator(scores_only(s_NL)).logits_BL.isfinite().all()
    few_NL = torch.cat((s_NL[:3], s_NL[:3]))
    assert fitted(few_NL, torch.ones_like(few_NL)).logit_LK.isfinite().all()  # more bins than rows


@pytest.mark.parametrize("output", every_output(sample(200, 3, seed=3)[0]), ids=lambda o: type(o).__name__)
def test_every_output_gets_marginals_and_state_restores_them(output) -> None:
    _, y_NL = sample(200, 3, seed=3)
    calibrator, restored = (Histogram(n_labels=3, bins=5, shrinkage=1.0) for _ in range(2))
    calibrator.check(output)
    assert torch.equal(calibrator(output).logits_BL, output.score_logits())
    calibrator.fit(output, y_NL)
    restored.load_state_dict(calibrator.state_dict())
    assert torch.equal(restored(output).logits_BL, calibrator(output).logits_BL)
    p_NL = calibrator(output).marginals()
    assert ((p_NL > 0) & (p_NL < 1)).all()
    torch.testing.assert_close(p_NL.mean(0), y_NL.mean(0), rtol=0, atol=0.01)
