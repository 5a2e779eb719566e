import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_expit
from torch import Tensor

from mlc.calibration import vector
from mlc.calibration.platt import MIN_SLOPE
from mlc.calibration.temperature import Temperature
from mlc.calibration.vector import VectorScaling
from mlc.errors import UserError
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.shares import LabelShares
from mlc.outputs.single_choice import SingleChoice
from tests.unit.calibration.outputs import EXTREMES, sample, scores_only


def fitted(z_NL: Tensor, y_NL: Tensor, *, prior_deviation: float = 1.0) -> VectorScaling:
    calibrator = VectorScaling(n_labels=y_NL.shape[1], prior_deviation=prior_deviation)
    calibrator.check(IndependentLabels(z_NL))
    calibrator.fit(IndependentLabels(z_NL), y_NL)
    return calibrator


def temperature(z_NL: Tensor, y_NL: Tensor) -> float:
    shared = Temperature(n_labels=y_NL.shape[1])
    shared.fit(IndependentLabels(z_NL), y_NL)
    return float(shared.temperature)


def test_agrees_with_scipy_on_the_penalised_likelihood() -> None:
    z_NL, y_NL = sample(60, 3, seed=0, slope=1.7)
    z_NL = z_NL + torch.tensor([0.0, 2.0, -3.0])
    calibrator, t = fitted(z_NL, y_NL, prior_deviation=0.5), temperature(z_NL, y_NL)
    for label in range(3):
        z, y = z_NL[:, label].double().numpy(), y_NL[:, label].numpy()

        def loss(ab, z=z, y=y):
            f = ab[0] * z + ab[1]
            slope, level = ab[0] * z.std() - z.std() / t, (ab[0] * z.mean() + ab[1]) - z.mean() / t
            return -(y * log_expit(f) + (1 - y) * log_expit(-f)).sum() + (slope**2 + level**2) / 2 / 0.5**2

        best = minimize(loss, [1, 0], tol=1e-12).x
        assert calibrator.slope_L[label].item() == pytest.approx(best[0], abs=1e-4)
        assert calibrator.bias_L[label].item() == pytest.approx(best[1], abs=1e-4)


def test_a_narrow_prior_is_temperature_scaling() -> None:
    z_NL, y_NL = sample(200, 3, seed=1, slope=0.5)
    output = fitted(z_NL, y_NL, prior_deviation=1e-4)(IndependentLabels(z_NL))
    assert isinstance(output, IndependentLabels)
    torch.testing.assert_close(output.logits_BL, z_NL / temperature(z_NL, y_NL), rtol=1e-4, atol=1e-4)


def test_many_examples_leave_the_prior_behind() -> None:
    g = torch.Generator().manual_seed(2)
    z_NL = torch.randn(40_000, 2, generator=g) * 2
    a_L, b_L = torch.tensor([0.5, 2.0]), torch.tensor([-1.0, 1.5])
    calibrator = fitted(z_NL, torch.bernoulli(torch.sigmoid(a_L * z_NL + b_L), generator=g))
    torch.testing.assert_close(calibrator.slope_L, a_L, rtol=0.06, atol=0)
    torch.testing.assert_close(calibrator.bias_L, b_L, rtol=0.08, atol=0)
    assert not calibrator.fallback_L.any()


def test_labels_without_positives_or_with_misleading_scores_are_said() -> None:
    z_NL, y_NL = sample(3000, 4, seed=3)
    y_NL[:, 0], y_NL[:, 1] = 0, 1
    y_NL[:, 2] = (z_NL[:, 2] < 0).float()
    calibrator = fitted(z_NL, y_NL)
    assert calibrator.fallback_L.tolist() == [True, True, True, False]
    assert calibrator.slope_L[2].item() == pytest.approx(MIN_SLOPE / z_NL[:, 2].std(correction=0).item())
    p_L = calibrator(IndependentLabels(z_NL)).marginals().mean(0)
    assert p_L[0] < 0.05
    assert p_L[1] > 0.95


def test_extremes_stay_finite() -> None:
    z_NL, y_NL = sample(50, 2, seed=4)
    z_NL[:7] = EXTREMES[:7]
    z_NL[:, 1] = 3.0
    output = fitted(z_NL, y_NL)(IndependentLabels(z_NL))
    assert output.logits_BL.isfinite().all()


def test_blocks_of_labels_give_the_same_fit_and_state_restores_it(monkeypatch: pytest.MonkeyPatch) -> None:
    z_NL, y_NL = sample(60, 5, seed=5)
    whole = fitted(z_NL, y_NL)
    monkeypatch.setattr(vector, "_BLOCK_CELLS", 120)
    for name, value in fitted(z_NL, y_NL).state_dict().items():
        torch.testing.assert_close(value, whole.state_dict()[name])
    restored = VectorScaling(n_labels=5, prior_deviation=1.0)
    assert torch.equal(restored(IndependentLabels(z_NL)).logits_BL, z_NL)
    restored.load_state_dict(whole.state_dict())
    output = IndependentLabels(z_NL)
    assert np.array_equal(restored(output).logits_BL, whole(output).logits_BL)


@pytest.mark.parametrize(
    "output",
    [LabelShares(torch.zeros(1, 3)), SingleChoice(torch.zeros(1, 3)), scores_only(torch.zeros(1, 3))],
)
def test_other_outputs_are_refused(output) -> None:
    with pytest.raises(UserError, match=f"{type(output).__name__}.*calibration=platt"):
        VectorScaling(n_labels=3, prior_deviation=1.0).check(output)
