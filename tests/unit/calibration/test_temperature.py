import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_expit, log_softmax, logsumexp
from torch import Tensor
from torch.nn import functional as F

from mlc.calibration.temperature import MAX_TEMPERATURE, Temperature
from mlc.errors import UserError
from mlc.outputs.base import LabelOutput
from mlc.outputs.calibrated import CalibratedLabels
from mlc.outputs.chain import LabelChain
from mlc.outputs.counts import PointCount
from mlc.outputs.factorised import FactorisedCount
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.label_sets import LabelSets
from mlc.outputs.levels import LabelLevels
from mlc.outputs.scores_only import ScoresOnly
from mlc.outputs.shares import LabelShares
from mlc.outputs.single_choice import SingleChoice

L = 4


def fitted(output: LabelOutput, y_NL: Tensor) -> float:
    calibrator = Temperature(n_labels=L)
    calibrator.check(output)
    calibrator.fit(output, y_NL)
    return float(calibrator.temperature)


def independent_sample(rows: int, *, scale: float, true_t: float, seed: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    logits_NL = torch.randn(rows, L, generator=g) * scale
    return logits_NL, torch.bernoulli(torch.sigmoid(logits_NL / true_t), generator=g)


def choice_sample(rows: int, *, scale: float, true_t: float, seed: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    logits_NL = torch.randn(rows, L, generator=g) * scale
    chosen_N = torch.multinomial(torch.softmax(logits_NL / true_t, 1), 1, generator=g).squeeze(1)
    return logits_NL, F.one_hot(chosen_N, L).float()


def bernoulli_nll(z: np.ndarray, y: np.ndarray) -> float:
    return float(-(y * log_expit(z) + (1 - y) * log_expit(-z)).sum())


def categorical_nll(z: np.ndarray, y: np.ndarray) -> float:
    return float(-(y * log_softmax(z, axis=1)).sum())


def best_by_scipy(nll, logits_NL: Tensor, y_NL: Tensor) -> float:
    z, y = logits_NL.double().numpy(), y_NL.double().numpy()
    bound = math.log(MAX_TEMPERATURE)
    result = minimize_scalar(
        lambda u: nll(z / math.exp(u), y), bounds=(-bound, bound), method="bounded", options={"xatol": 1e-10}
    )
    return math.exp(result.x)


@pytest.mark.parametrize(("scale", "true_t"), [(1, 0.3), (1, 1), (3, 2.5), (30, 12), (0.05, 0.02), (300, 40)])
def test_independent_labels_agree_with_scipy(scale: float, true_t: float) -> None:
    logits_NL, y_NL = independent_sample(400, scale=scale, true_t=true_t, seed=1)
    expected = best_by_scipy(bernoulli_nll, logits_NL, y_NL)
    assert fitted(IndependentLabels(logits_NL), y_NL) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("scale", "true_t"), [(1, 0.3), (3, 2.5), (30, 12), (300, 40)])
def test_single_choice_agrees_with_scipy(scale: float, true_t: float) -> None:
    logits_NL, y_NL = choice_sample(400, scale=scale, true_t=true_t, seed=2)
    expected = best_by_scipy(categorical_nll, logits_NL, y_NL)
    assert fitted(SingleChoice(logits_NL), y_NL) == pytest.approx(expected, rel=1e-5)


SETS = torch.tensor([[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 1, 1, 1]]).bool()


@pytest.mark.parametrize(("scale", "true_t"), [(1, 0.3), (3, 2.5), (30, 12)])
def test_label_sets_agree_with_scipy_and_leave_out_unseen_sets(scale: float, true_t: float) -> None:
    g = torch.Generator().manual_seed(7)
    logits_NM = torch.randn(400, len(SETS), generator=g) * scale
    chosen_N = torch.multinomial(torch.softmax(logits_NM / true_t, 1), 1, generator=g).squeeze(1)
    y_NL = SETS[chosen_N].float()
    expected = best_by_scipy(categorical_nll, logits_NM, F.one_hot(chosen_N, len(SETS)))
    assert fitted(LabelSets(logits_NM, SETS), y_NL) == pytest.approx(expected, rel=1e-5)
    y_NL[:100] = torch.tensor([0.0, 0, 0, 1])
    expected = best_by_scipy(categorical_nll, logits_NM[100:], F.one_hot(chosen_N[100:], len(SETS)))
    assert fitted(LabelSets(logits_NM, SETS), y_NL) == pytest.approx(expected, rel=1e-5)
    assert fitted(LabelSets(logits_NM[:100], SETS), y_NL[:100]) == 1


@pytest.mark.parametrize("n_levels", [2, 4])
def test_levels_are_fitted_on_presence_as_scipy_says(n_levels: int) -> None:
    g = torch.Generator().manual_seed(8)
    logits_NLK = torch.randn(400, L, n_levels, generator=g) * 3
    p_NL = 1 - torch.softmax(logits_NLK / 2.5, 2)[:, :, 0]
    y_NL = torch.bernoulli(p_NL, generator=g)

    def nll(z: np.ndarray, y: np.ndarray) -> float:
        f = logsumexp(z[:, :, 1:], axis=2) - z[:, :, 0]
        return float(-(y * log_expit(f) + (1 - y) * log_expit(-f)).sum())

    output = LabelLevels(logits_NLK)
    expected = best_by_scipy(nll, logits_NLK, y_NL)
    assert fitted(output, y_NL) == pytest.approx(expected, rel=1e-4)
    calibrator = Temperature(n_labels=L)
    calibrator.fit(output, y_NL)
    calibrated = calibrator(output)
    assert isinstance(calibrated, LabelLevels)
    assert torch.equal(calibrated.levels(), output.levels())


def test_unknown_targets_are_left_out_as_scipy_says() -> None:
    logits_NL, y_NL = independent_sample(400, scale=3, true_t=2.5, seed=9)
    y_NL[torch.rand(y_NL.shape, generator=torch.Generator().manual_seed(10)) < 0.4] = torch.nan
    known_NL = ~y_NL.isnan()
    expected = best_by_scipy(bernoulli_nll, logits_NL[known_NL], y_NL[known_NL])
    assert fitted(IndependentLabels(logits_NL), y_NL) == pytest.approx(expected, rel=1e-5)


def test_a_block_of_rows_at_a_time_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    logits_NL, y_NL = independent_sample(101, scale=3, true_t=2.5, seed=9)
    y_NL[::7] = torch.nan
    weight_N = torch.rand(101, generator=torch.Generator().manual_seed(1)).round(decimals=1)
    weight_N[:9] = 0  # the first two blocks count nothing

    def fit() -> float:
        calibrator = Temperature(n_labels=L)
        calibrator.fit(IndependentLabels(logits_NL), y_NL, weight_N)
        return float(calibrator.temperature)

    at_once = fit()
    monkeypatch.setattr("mlc.calibration.temperature._BLOCK_CELLS", 4 * L)
    assert fit() == pytest.approx(at_once, rel=1e-6)  # T is kept in float32


def test_shared_tensors_are_not_divided() -> None:
    calibrator = Temperature(n_labels=L)
    calibrator.temperature.fill_(2.0)
    output = calibrator(LabelSets(torch.ones(3, len(SETS)), SETS))
    assert isinstance(output, LabelSets)
    assert torch.equal(output.sets_ML, SETS)
    assert (output.logits_BM == 0.5).all()


def test_true_temperature_comes_back() -> None:
    logits_NL, y_NL = independent_sample(20_000, scale=3, true_t=2.5, seed=3)
    assert fitted(IndependentLabels(logits_NL), y_NL) == pytest.approx(2.5, rel=0.03)


def test_rows_without_exactly_one_label_do_not_count_for_single_choice() -> None:
    logits_NL, y_NL = choice_sample(100, scale=2, true_t=2, seed=4)
    extra_logits_NL = torch.cat((logits_NL, 5 * torch.ones(2, L).cumsum(1)))
    extra_y_NL = torch.cat((y_NL, torch.tensor([[0.0, 0, 0, 0], [1, 1, 0, 0]])))
    assert fitted(SingleChoice(extra_logits_NL), extra_y_NL) == fitted(SingleChoice(logits_NL), y_NL)


def test_without_information_t_is_one() -> None:
    y_NL = torch.tensor([[0.0, 1, 1, 0]]).repeat(3, 1)
    assert fitted(SingleChoice(torch.randn(3, L)), y_NL) == 1
    assert fitted(IndependentLabels(torch.zeros(3, L)), y_NL) == 1


@pytest.mark.parametrize("scale", [0.01, 1, 1e4])
def test_separated_and_misleading_scores_stay_within_bounds(scale: float) -> None:
    logits_NL, _ = independent_sample(50, scale=scale, true_t=1, seed=5)
    y_NL = (logits_NL > 0).float()
    separated = fitted(IndependentLabels(logits_NL), y_NL)
    assert 1 / MAX_TEMPERATURE * (1 - 1e-6) <= separated <= 1
    assert fitted(IndependentLabels(-logits_NL), y_NL) == pytest.approx(MAX_TEMPERATURE)


def test_forward_divides_logits_and_keeps_the_model() -> None:
    calibrator = Temperature(n_labels=L)
    calibrator.temperature.fill_(4.0)
    for model in (IndependentLabels, SingleChoice):
        output = calibrator(model(torch.tensor([[4.0, 8, -4, 0]])))
        assert type(output) is model
        assert output.logits_BL.tolist() == [[1, 2, -1, 0]]


def test_state_restores_the_fit_and_fit_is_deterministic() -> None:
    logits_NL, y_NL = independent_sample(200, scale=3, true_t=2, seed=6)
    output = IndependentLabels(logits_NL.requires_grad_())
    first, second, restored = (Temperature(n_labels=L) for _ in range(3))
    first.fit(output, y_NL)
    with torch.no_grad():
        second.fit(output, y_NL)
    assert torch.equal(first.temperature, second.temperature)
    assert first.temperature != 1
    restored.load_state_dict(first.state_dict())
    assert torch.equal(restored(output).logits_BL, first(output).logits_BL)


@pytest.mark.parametrize(
    "output",
    [
        LabelShares(torch.zeros(1, L)),
        LabelChain(torch.zeros(1, L), torch.zeros(L, L)),
        FactorisedCount(torch.zeros(1, L), PointCount(torch.ones(1))),
        ScoresOnly(torch.zeros(1, L), torch.zeros(1, L)),
        CalibratedLabels(torch.zeros(1, L), LabelShares(torch.zeros(1, L))),
    ],
)
def test_outputs_without_marginals_of_their_own_are_refused(output: LabelOutput) -> None:
    with pytest.raises(UserError, match=f"{type(output).__name__}.*calibration=platt"):
        Temperature(n_labels=L).check(output)
