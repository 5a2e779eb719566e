import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_expit

from mlc.calibration import beta
from mlc.calibration.beta import Beta
from mlc.calibration.examples import platt_targets
from mlc.errors import UserError
from mlc.outputs.counts import PointCount
from mlc.outputs.factorised import FactorisedCount
from mlc.outputs.independent import IndependentLabels
from tests.unit.calibration.outputs import EXTREMES, sample, scores_only, unit_outputs

Z = torch.zeros(2, 3)


def fitted(z_NL: torch.Tensor, y_NL: torch.Tensor) -> Beta:
    calibrator = Beta(n_labels=y_NL.shape[1])
    calibrator.check(IndependentLabels(z_NL))
    calibrator.fit(IndependentLabels(z_NL), y_NL)
    return calibrator


def best_by_scipy(z: np.ndarray, t: np.ndarray) -> tuple[float, np.ndarray]:
    def loss(w):
        f = w[0] * log_expit(z) - w[1] * log_expit(-z) + w[2]
        return -(t * log_expit(f) + (1 - t) * log_expit(-f)).mean()

    best = minimize(loss, [1, 1, 0], bounds=[(0, None), (0, None), (None, None)], tol=1e-14)
    return best.fun, best.x


def bent_sample() -> tuple[torch.Tensor, torch.Tensor]:
    """Labels whose best curve is inside, on one bound, on the other, and in the corner."""
    z_NL, _ = sample(400, 4, seed=1)
    g = torch.Generator().manual_seed(2)
    f_NL = torch.stack(
        (
            z_NL[:, 0] * 1.3 - 0.2,
            (z_NL[:, 1] - 1).clamp(min=0) * 3 - 1.5 * (z_NL[:, 1].sigmoid() < 0.3),
            -(z_NL[:, 2].square()) + 0.5 * z_NL[:, 2],
            -z_NL[:, 3],
        ),
        dim=1,
    )
    return z_NL, torch.bernoulli(torch.sigmoid(f_NL), generator=g)


def test_agrees_with_a_bounded_optimiser_of_scipy() -> None:
    z_NL, y_NL = bent_sample()
    calibrator = fitted(z_NL, y_NL)
    assert not calibrator.fallback_L.any()
    t_NL = platt_targets(y_NL.double())
    logits_NL = calibrator(IndependentLabels(z_NL)).logits_BL.double().numpy()
    for label in range(4):
        t = t_NL[:, label].numpy()
        expected, weights = best_by_scipy(z_NL[:, label].double().numpy(), t)
        f = logits_NL[:, label]
        assert -(t * log_expit(f) + (1 - t) * log_expit(-f)).mean() == pytest.approx(expected, abs=1e-7)
        assert calibrator.weight_L3[label].tolist() == pytest.approx(weights.tolist(), abs=5e-3)
    assert (calibrator.weight_L3[:, :2] >= 0).all()
    assert (calibrator.weight_L3[1:, :2] == 0).any(1).all()
    assert (calibrator.weight_L3[3, :2] == 0).all()


def test_a_bent_curve_comes_back() -> None:
    g = torch.Generator().manual_seed(3)
    s_NL = torch.rand(40_000, 1, generator=g) * 0.98 + 0.01
    f_NL = 2 * s_NL.log() - 0.5 * (1 - s_NL).log() + 1
    calibrator = fitted(s_NL.logit(), torch.bernoulli(torch.sigmoid(f_NL), generator=g))
    assert calibrator.weight_L3[0].tolist() == pytest.approx([2, 0.5, 1], abs=0.1)


def test_unfitted_weights_are_the_identity() -> None:
    z_NL, _ = sample(20, 3, seed=4)
    calibrator = Beta(n_labels=3)
    calibrator.fallback_L.fill_(False)
    torch.testing.assert_close(calibrator(IndependentLabels(z_NL)).logits_BL, z_NL)


def test_no_ranking_is_reversed_and_extremes_stay_finite() -> None:
    z_NL, y_NL = bent_sample()
    z_NL[:9] = EXTREMES
    calibrator = fitted(z_NL, y_NL)
    assert calibrator.weight_L3.isfinite().all()
    logits_NL = calibrator(IndependentLabels(z_NL.sort(0).values)).logits_BL
    assert logits_NL.isfinite().all()
    assert (logits_NL.diff(dim=0) >= 0).all()


def test_blocks_of_labels_give_the_same_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    z_NL, y_NL = sample(80, 5, seed=5)
    whole = fitted(z_NL, y_NL).state_dict()
    monkeypatch.setattr(beta, "_BLOCK_CELLS", 160)
    for name, value in fitted(z_NL, y_NL).state_dict().items():
        torch.testing.assert_close(value, whole[name])


@pytest.mark.parametrize("output", unit_outputs(sample(200, 3, seed=6)[0]), ids=lambda o: type(o).__name__)
def test_outputs_with_scores_in_the_unit_interval_get_marginals_and_state_restores_them(output) -> None:
    _, y_NL = sample(200, 3, seed=6)
    calibrator, restored = Beta(n_labels=3), Beta(n_labels=3)
    calibrator.check(output)
    calibrator.fit(output, y_NL)
    restored.load_state_dict(calibrator.state_dict())
    assert torch.equal(restored(output).logits_BL, calibrator(output).logits_BL)
    frequency_L = platt_targets(y_NL.double()).mean(0)
    torch.testing.assert_close(
        calibrator(output).marginals().mean(0).double(), frequency_L, rtol=1e-4, atol=0
    )


@pytest.mark.parametrize("output", [scores_only(Z), FactorisedCount(Z, PointCount(Z[:, 0] + 1))])
def test_other_scores_are_refused(output) -> None:
    with pytest.raises(UserError, match=f"{type(output).__name__}.*calibration=platt, isotonic"):
        Beta(n_labels=3).check(output)
