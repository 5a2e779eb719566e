import pytest
import torch
from safetensors.torch import load, save
from sklearn.isotonic import IsotonicRegression
from torch import Tensor

from mlc.calibration.isotonic import Isotonic
from tests.unit.calibration.outputs import EXTREMES, every_output, sample, scores_only


def fitted(s_NL: Tensor, y_NL: Tensor) -> Isotonic:
    calibrator = Isotonic(n_labels=y_NL.shape[1])
    calibrator.check(scores_only(s_NL))
    calibrator.fit(scores_only(s_NL), y_NL)
    return calibrator


def pooled_by_hand(y: list[float]) -> list[float]:
    """Means of blocks, joined while one is above its successor."""
    blocks: list[list[float]] = []
    for value in y:
        blocks.append([value, 1.0])
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            (mean_1, n_1), (mean_2, n_2) = blocks[-2:]
            blocks[-2:] = [[(mean_1 * n_1 + mean_2 * n_2) / (n_1 + n_2), n_1 + n_2]]
    return [mean for mean, n in blocks for _ in range(int(n))]


def test_validation_scores_get_the_pooled_means_within_platts_bounds() -> None:
    s_NL, y_NL = sample(150, 4, seed=0)
    p_NL = fitted(s_NL, y_NL)(scores_only(s_NL)).marginals()
    for label in range(4):
        order_N = s_NL[:, label].argsort()
        positives = y_NL[:, label].sum().item()
        expected = torch.tensor(pooled_by_hand(y_NL[order_N, label].tolist()))
        expected = expected.clamp(1 / (152 - positives), (positives + 1) / (positives + 2))
        torch.testing.assert_close(p_NL[order_N, label], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rounded", [False, True])
def test_new_scores_agree_with_scikit_learn(rounded: bool) -> None:
    s_NL, y_NL = sample(300, 3, seed=1)
    if rounded:
        s_NL = s_NL.round()
    new_NL = torch.cat((sample(500, 3, seed=2)[0] * 2, s_NL))
    p_NL = fitted(s_NL, y_NL)(scores_only(new_NL)).marginals()
    for label in range(3):
        positives = y_NL[:, label].sum().item()
        reference = IsotonicRegression(
            y_min=1 / (302 - positives), y_max=(positives + 1) / (positives + 2), out_of_bounds="clip"
        )
        reference.fit(s_NL[:, label].double().numpy(), y_NL[:, label].double().numpy())
        expected = torch.from_numpy(reference.predict(new_NL[:, label].double().numpy()))
        torch.testing.assert_close(p_NL[:, label].double(), expected, rtol=1e-4, atol=1e-5)


def test_labels_of_different_lengths_are_restored() -> None:
    s_NL, y_NL = sample(200, 4, seed=3)
    s_NL[:, 1] = (s_NL[:, 1] > 0).float()  # two knots
    s_NL[:, 2] = 3.0  # one
    y_NL[:, 3] = 0  # falls back
    calibrator, restored = fitted(s_NL, y_NL), Isotonic(n_labels=4)
    assert calibrator.fallback_L.tolist() == [False, False, False, True]
    restored.load_state_dict(load(save(calibrator.state_dict())))
    output = scores_only(sample(50, 4, seed=4)[0])
    assert torch.equal(restored(output).logits_BL, calibrator(output).logits_BL)
    torch.testing.assert_close(
        calibrator(output).marginals()[:, 2], y_NL[:, 2].mean().expand(50), rtol=1e-5, atol=0
    )
    assert calibrator(output).marginals()[:, 1].unique().numel() > 2  # linear between its two knots
    with pytest.raises(RuntimeError, match="size mismatch"):
        Isotonic(n_labels=3).load_state_dict(calibrator.state_dict())


def test_separated_and_extreme_scores_stay_finite_and_rise() -> None:
    s_NL, _ = sample(100, 2, seed=5)
    s_NL[:9] = EXTREMES
    y_NL = (s_NL > 0).float()
    logits_NL = fitted(s_NL, y_NL)(scores_only(s_NL.sort(0).values)).logits_BL
    assert logits_NL.isfinite().all()
    assert (logits_NL.diff(dim=0) >= 0).all()


@pytest.mark.parametrize("output", every_output(sample(200, 3, seed=6)[0]), ids=lambda o: type(o).__name__)
def test_every_output_gets_marginals(output) -> None:
    _, y_NL = sample(200, 3, seed=6)
    calibrator = Isotonic(n_labels=3)
    calibrator.check(output)
    assert torch.equal(calibrator(output).logits_BL, output.score_logits())
    calibrator.fit(output, y_NL)
    p_NL = calibrator(output).marginals()
    assert ((p_NL > 0) & (p_NL < 1)).all()
    torch.testing.assert_close(p_NL.mean(0), y_NL.mean(0), rtol=0, atol=0.01)  # the bounds move it a little
