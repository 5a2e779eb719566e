import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_expit
from sklearn.calibration import _SigmoidCalibration
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from mlc.calibration import platt
from mlc.calibration.examples import MIN_EXAMPLES, platt_targets
from mlc.calibration.platt import MIN_SLOPE, Platt
from mlc.calibration.shared_slope import MIN_TEACHERS, learn_slope_prior
from mlc.outputs.base import LabelOutput
from mlc.outputs.calibrated import CalibratedLabels
from mlc.outputs.counts import PointCount, PoissonCount
from mlc.outputs.factorised import FactorisedCount
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.scores_only import ScoresOnly
from mlc.outputs.shares import LabelShares
from mlc.outputs.single_choice import SingleChoice


def scores_only(score_logits_NL: Tensor) -> ScoresOnly:
    return ScoresOnly(score_logits_NL, score_logits_NL)


def fitted(score_logits_NL: Tensor, y_NL: Tensor) -> Platt:
    calibrator = Platt(n_labels=y_NL.shape[1])
    calibrator.check(scores_only(score_logits_NL))
    calibrator.fit(scores_only(score_logits_NL), y_NL)
    return calibrator


def slope_and_intercept(calibrator: Platt) -> tuple[Tensor, Tensor]:
    slope_L = calibrator.slope_L.double()
    return slope_L, calibrator.intercept_L.double() - slope_L * calibrator.centre_L.double()


def sample(
    a_L: list[float], b_L: list[float], *, rows: int, seed: int, shift: float = 0.0
) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    s_NL = torch.randn(rows, len(a_L), generator=g) * 1.5 + shift
    return s_NL, torch.bernoulli(torch.sigmoid(torch.tensor(a_L) * s_NL + torch.tensor(b_L)), generator=g)


def test_targets_by_hand() -> None:
    y_NL = torch.tensor([[1.0, 0], [0, 0], [1, 0]]).double()
    assert platt_targets(y_NL).tolist() == [[3 / 4, 1 / 5], [1 / 3, 1 / 5], [3 / 4, 1 / 5]]


def test_known_slopes_and_intercepts_come_back() -> None:
    a_L, b_L = [0.5, 1, 3], [-2.0, 0, 1]
    slope_L, intercept_L = slope_and_intercept(fitted(*sample(a_L, b_L, rows=40_000, seed=0)))
    torch.testing.assert_close(slope_L, torch.tensor(a_L).double(), rtol=0.06, atol=0)
    torch.testing.assert_close(intercept_L, torch.tensor(b_L).double(), rtol=0.06, atol=0.05)


def test_agrees_with_scikit_learn_sigmoid_calibration() -> None:
    s_NL, y_NL = sample([0.7, 2, 1, 5], [-1.0, 3, -8, 0.5], rows=300, seed=1, shift=2.0)
    calibrated = fitted(s_NL, y_NL)(scores_only(s_NL)).marginals()
    for label in range(4):
        reference = _SigmoidCalibration().fit(s_NL[:, label].double().numpy(), y_NL[:, label].numpy())
        expected = torch.from_numpy(reference.predict(s_NL[:, label].double().numpy()))
        torch.testing.assert_close(calibrated[:, label].double(), expected, rtol=0, atol=1e-4)


def test_agrees_with_logistic_regression_on_platts_targets() -> None:
    s_NL, y_NL = sample([0.7, 2, 1], [-1.0, 3, 0], rows=300, seed=2, shift=-4.0)
    slope_L, intercept_L = slope_and_intercept(fitted(s_NL, y_NL))
    for label in range(3):
        s, y = s_NL[:, label].double(), y_NL[:, label].double()
        # A target t is t rows of class 1 and 1 - t rows of class 0.
        high, low = (y.sum() + 1) / (y.sum() + 2), 1 / (len(y) - y.sum() + 2)
        t = torch.where(y == 1, high, low)
        reference = LogisticRegression(C=float("inf"), tol=1e-10, max_iter=1000)
        reference.fit(
            torch.cat((s, s))[:, None].numpy(),
            torch.cat((torch.ones_like(s), torch.zeros_like(s))).numpy(),
            sample_weight=torch.cat((t, 1 - t)).numpy(),
        )
        assert slope_L[label].item() == pytest.approx(reference.coef_[0, 0], rel=1e-4)
        assert intercept_L[label].item() == pytest.approx(reference.intercept_[0], rel=1e-4, abs=1e-4)


@pytest.mark.parametrize(("scale", "shift"), [(1e-4, 0.0), (1e4, 0.0), (1e-2, -30.0), (1e4, 1e5)])
def test_scale_and_shift_of_scores_do_not_matter(scale: float, shift: float) -> None:
    s_NL, y_NL = sample([1, 2], [-1.0, 1], rows=300, seed=3)
    moved_NL = s_NL * scale + shift
    expected = fitted(s_NL, y_NL)(scores_only(s_NL)).marginals()
    torch.testing.assert_close(
        fitted(moved_NL, y_NL)(scores_only(moved_NL)).marginals(), expected, rtol=0, atol=1e-3
    )


def test_separated_label_gets_platts_targets() -> None:
    s_NL = torch.cat((torch.full((6, 1), -3.0), torch.full((2, 1), 5.0)))
    y_NL = (s_NL > 0).float()
    p_NL = fitted(s_NL, y_NL)(scores_only(s_NL)).marginals()
    torch.testing.assert_close(p_NL.squeeze(1), torch.tensor([1 / 8] * 6 + [3 / 4] * 2))


def test_labels_that_fall_back_keep_their_ranking_and_their_frequency() -> None:
    rows = 1000
    s_NL, _ = sample([1] * 5, [0.0] * 5, rows=rows, seed=4)
    s_NL[:, 3] = -2.7
    g = torch.Generator().manual_seed(5)
    y_NL = torch.bernoulli(torch.sigmoid(s_NL), generator=g)
    y_NL[:, 0] = torch.bernoulli(torch.sigmoid(-s_NL[:, 0]), generator=g)  # misleading
    y_NL[:, 1], y_NL[:, 2] = 0, 1
    calibrator = fitted(s_NL, y_NL)
    assert calibrator.fallback_L.tolist() == [True, True, True, True, False]
    output = calibrator(scores_only(s_NL))
    torch.testing.assert_close(
        calibrator.slope_L[:3], torch.full((3,), MIN_SLOPE) / s_NL[:, :3].std(0, correction=0)
    )
    torch.testing.assert_close(
        output.marginals().mean(0).double(), platt_targets(y_NL.double()).mean(0), rtol=1e-4, atol=1e-6
    )
    assert torch.equal(output.score_logits()[:, 0].argsort(), s_NL[:, 0].argsort())
    assert (output.marginals()[:, 3] == output.marginals()[0, 3]).all()
    assert torch.isfinite(calibrator(scores_only(s_NL * 100)).logits_BL).all()


def shared_sample(rows: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Six common labels, one with three positives, one with none, and one whose three negatives mislead."""
    s_NL, y_NL = sample([0.6, 0.8, 1.0, 0.7, 0.9, 0.8, 0, 0, 0], [-1.0] * 9, rows=rows, seed=seed)
    y_NL[:, 6:] = torch.tensor([0.0, 0, 1])
    y_NL[s_NL[:, 6].topk(5).indices[::2], 6] = 1
    y_NL[s_NL[:, 8].topk(3).indices, 8] = 0
    return s_NL, y_NL


def test_rare_labels_share_a_slope_and_agree_with_scipy() -> None:
    s_NL, y_NL = shared_sample(300, seed=8)
    calibrator = fitted(s_NL, y_NL)
    assert calibrator.fallback_L.tolist() == [False] * 6 + [True] * 3
    common = fitted(s_NL[:, :6], y_NL[:, :6])
    assert torch.equal(calibrator.slope_L[:6], common.slope_L)
    slopes, variances = [], []
    for label in range(6):
        s, t = s_NL[:, label].double(), platt_targets(y_NL.double())[:, label]
        p = common(scores_only(s_NL[:, :6])).marginals()[:, label].double()
        x = torch.stack((s, torch.ones_like(s)))
        variances.append(torch.linalg.inv((x * (p * (1 - p))) @ x.T)[0, 0])
        slopes.append(common.slope_L[label].double())
    prior = learn_slope_prior(torch.stack(slopes), torch.stack(variances))
    assert prior is not None
    for label in (6, 7, 8):
        s, t = s_NL[:, label].double().numpy(), platt_targets(y_NL.double())[:, label].numpy()

        def loss(w, s=s, t=t):
            f = w[0] * s + w[1]
            entropy = -(t * log_expit(f) + (1 - t) * log_expit(-f)).sum()
            return entropy + ((w[0] - prior.mean) / prior.deviation) ** 2 / 2

        best = minimize(loss, [1, 0], tol=1e-12).x
        slope_L, intercept_L = slope_and_intercept(calibrator)
        assert slope_L[label].item() == pytest.approx(best[0], abs=1e-3)
        assert intercept_L[label].item() == pytest.approx(best[1], abs=1e-3)


def test_the_fewer_examples_the_nearer_to_the_shared_slope() -> None:
    s_NL, y_NL = shared_sample(300, seed=9)
    y_NL[:, 6:] = 0
    for label, positives in ((7, 2), (8, 9)):
        y_NL[s_NL[:, label].topk(positives, largest=False).indices, label] = 1  # as misleading as can be
    slope_L = fitted(s_NL, y_NL).slope_L
    assert slope_L[6] > slope_L[7] > slope_L[8]
    assert slope_L[6] > slope_L[:6].min() / 2  # without the others it would be next to 0


def test_where_all_labels_are_rare_they_share_with_one_another() -> None:
    s_NL, y_NL = sample([1.0] * 12, [-6.0] * 12, rows=400, seed=10)
    positives_L = y_NL.sum(0)
    assert ((positives_L > 0) & (positives_L < MIN_EXAMPLES)).sum() >= MIN_TEACHERS
    alone_L = torch.stack([fitted(s_NL[:, [i]], y_NL[:, [i]]).slope_L[0] for i in range(12)])
    together_L = fitted(s_NL, y_NL).slope_L
    assert together_L.std() < alone_L.std() / 2
    assert (together_L - 1).abs().mean() < (alone_L - 1).abs().mean()


def test_blocks_of_labels_give_the_same_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    s_NL, y_NL = shared_sample(60, seed=6)
    whole = fitted(s_NL, y_NL).state_dict()
    monkeypatch.setattr(platt, "_BLOCK_CELLS", 120)
    blocks = fitted(s_NL, y_NL).state_dict()
    assert len(blocks) == 4
    for name in whole:
        torch.testing.assert_close(blocks[name], whole[name])


@pytest.mark.parametrize(
    "make",
    [
        IndependentLabels,
        SingleChoice,
        LabelShares,
        lambda z: FactorisedCount(z, PointCount(z[:, 0].abs() + 0.1)),
        lambda z: FactorisedCount(z, PoissonCount(z[:, 0])),
        scores_only,
    ],
)
def test_every_output_gets_marginals_over_itself(make) -> None:
    z_NL, y_NL = sample([1, 2, 1], [-1.0, 0, 1], rows=200, seed=7)
    output: LabelOutput = make(z_NL)
    calibrator = Platt(n_labels=3)
    calibrator.check(output)
    unfitted = calibrator(output)
    assert torch.equal(unfitted.score_logits(), output.score_logits())
    calibrator.fit(output, y_NL)
    calibrated = calibrator(output)
    assert isinstance(calibrated, CalibratedLabels)
    assert calibrated.model is output
    assert ((calibrated.marginals() > 0) & (calibrated.marginals() < 1)).all()
    torch.testing.assert_close(
        calibrated.marginals().mean(0).double(), platt_targets(y_NL.double()).mean(0), rtol=1e-4, atol=0
    )
    restored = Platt(n_labels=3)
    restored.load_state_dict(calibrator.state_dict())
    assert torch.equal(restored(output).logits_BL, calibrated.logits_BL)
