import math

import pytest
import torch
from torch import Tensor

import mlc.outputs.label_sets
from mlc.outputs.label_sets import LabelSets
from tests.unit.outputs.label_sets import (
    all_sets,
    enumerate_sets,
    log_prob_of_what_is_known,
    with_unknown,
)

ROWS = 5
NAN = math.nan
CLOSE = {"rtol": 0, "check_dtype": False}


def random_sets(n_labels: int, n_sets: int, seed: int = 0) -> Tensor:
    order = torch.randperm(2**n_labels, generator=torch.Generator().manual_seed(seed))
    return all_sets(n_labels)[order[:n_sets]].bool()


def random_output(n_labels: int, n_sets: int, dtype: torch.dtype = torch.float64) -> LabelSets:
    g = torch.Generator().manual_seed(n_sets)
    logits_BM = (torch.randn(ROWS, n_sets, generator=g, dtype=torch.float64) * 2).to(dtype)
    return LabelSets(logits_BM, random_sets(n_labels, n_sets))


@pytest.mark.parametrize(("n_labels", "n_sets"), [(1, 2), (2, 4), (3, 1), (5, 7), (8, 40), (8, 256)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_everything_agrees_with_the_sum_over_all_sets(n_labels: int, n_sets: int, dtype: torch.dtype) -> None:
    output = random_output(n_labels, n_sets, dtype)
    exact = enumerate_sets(output, dtype)
    close = {**CLOSE, "atol": 1e-5 if dtype == torch.float32 else 1e-12}
    assert (exact.p_BS > 0).sum(1).tolist() == [n_sets] * ROWS
    torch.testing.assert_close(exact.p_BS.sum(1), torch.ones(ROWS), **close)
    torch.testing.assert_close(output.marginals(), exact.marginals_BL, **close)
    torch.testing.assert_close(output.cardinality(), exact.cardinality_BK, **close)
    torch.testing.assert_close(output.expected_count(), exact.marginals_BL.sum(1), **close)
    largest = int(output.sets_ML.sum(1).max())
    joint_BLK = exact.marginals_by_count_BLK
    torch.testing.assert_close(output.marginals_by_count(), joint_BLK[:, :, : largest + 1], **close)
    assert not joint_BLK[:, :, largest + 1 :].any()
    assert torch.equal(output.mode(), exact.mode_BL)
    tensors = (output.marginals(), output.score_logits(), output.cardinality(), output.marginals_by_count())
    assert all(t.dtype == dtype for t in tensors)


def test_values_by_hand() -> None:
    sets_ML = torch.tensor([[True, False, False], [True, True, False], [False, False, False]])
    output = LabelSets(torch.tensor([[0.2, 0.5, 0.3]]).log(), sets_ML)
    assert output.marginals()[0].tolist() == pytest.approx([0.7, 0.5, 0])
    assert output.cardinality()[0].tolist() == pytest.approx([0.3, 0.2, 0.5, 0])
    assert output.mode().tolist() == [[True, True, False]]
    assert output.score_logits()[0, :2].tolist() == pytest.approx([math.log(7 / 3), 0], abs=1e-6)


def test_score_logits_are_the_log_odds_of_the_marginals() -> None:
    output = random_output(6, 30)
    torch.testing.assert_close(output.score_logits(), torch.logit(output.marginals()))
    assert torch.equal(output.scores(), output.marginals())


def test_score_logits_rank_where_marginals_are_1_in_float32() -> None:
    sets_ML = torch.tensor(
        [[True, True, False, False], [True, False, True, False], [False, True, True, False]]
    )
    output = LabelSets(torch.tensor([[100.0, 60.0, 0.0], [300.0, 0.0, 0.0]]), sets_ML)
    assert output.marginals()[0, :2].tolist() == [1, 1]
    assert output.score_logits()[0, :3].tolist() == pytest.approx([100, 40, -40])
    # Both other sets have the third label.
    assert output.score_logits()[1, 2].item() == pytest.approx(math.log(2) - 300)


@pytest.mark.parametrize("scale", [1e3, 1e4])
def test_extreme_logits_stay_finite(scale: float) -> None:
    sets_ML = random_sets(5, 6)
    logits_BM = torch.linspace(-scale, scale, 6)[None].requires_grad_()
    output = LabelSets(logits_BM, sets_ML)
    assert output.score_logits().isfinite().all()
    assert torch.equal(output.marginals()[0], sets_ML[-1].float())
    log_prob_B = output.log_prob(sets_ML[:1].float())
    assert log_prob_B.item() == -2 * scale
    (log_prob_B.sum() + output.score_logits().sum()).backward()
    assert logits_BM.grad is not None
    assert logits_BM.grad.isfinite().all()


def test_sets_that_were_not_seen_are_impossible_without_breaking_other_rows() -> None:
    logits_BM = torch.zeros(3, 2, requires_grad=True)
    output = LabelSets(logits_BM, torch.tensor([[True, False, False], [True, True, False]]))
    y_BL = torch.tensor([[0.0, 0, 1], [1, 1, 0], [NAN, NAN, 1]])
    log_prob_B = output.log_prob(y_BL)
    assert log_prob_B.tolist() == pytest.approx([-math.inf, -math.log(2), -math.inf])
    log_prob_B[1].backward()
    assert logits_BM.grad is not None
    assert logits_BM.grad.tolist() == [[0, 0], [-0.5, 0.5], [0, 0]]


@pytest.mark.parametrize(("n_labels", "n_sets"), [(2, 4), (5, 20), (8, 256)])
def test_unknown_labels_are_summed_out(n_labels: int, n_sets: int) -> None:
    output = random_output(n_labels, n_sets)
    y_BL = with_unknown(output.sets_ML[torch.arange(ROWS) % n_sets].double())
    log_prob_B = output.log_prob(y_BL)
    torch.testing.assert_close(
        log_prob_B, log_prob_of_what_is_known(enumerate_sets(output), y_BL), rtol=1e-12, atol=1e-12
    )
    assert torch.equal(log_prob_B[:1], output.logits_BM.log_softmax(1)[:1, 0])


def test_gradients_by_finite_differences() -> None:
    output = random_output(4, 9)
    y_BL = with_unknown(output.sets_ML[:ROWS].double())

    def quantities(z_BM: Tensor) -> tuple[Tensor, ...]:
        model = LabelSets(z_BM, output.sets_ML)
        return model.log_prob(y_BL), model.score_logits(), model.marginals(), model.cardinality()

    assert torch.autograd.gradcheck(quantities, output.logits_BM.requires_grad_())


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    output = random_output(6, 30)
    y_BL = with_unknown(output.sets_ML[:ROWS].double())
    whole = output.log_prob(y_BL), output.score_logits()
    for block in (1, 60):  # rows one by one, and two by two
        monkeypatch.setattr(mlc.outputs.label_sets, "_BLOCK", block)
        torch.testing.assert_close((output.log_prob(y_BL), output.score_logits()), whole)


def test_many_sets_of_many_labels() -> None:
    g = torch.Generator().manual_seed(0)
    sets_ML = torch.rand(3000, 500, generator=g) < 0.02
    output = LabelSets(torch.randn(4, 3000, generator=g) * 3, sets_ML)
    joint_BLK = output.marginals_by_count()
    torch.testing.assert_close(joint_BLK.sum(2), output.marginals(), rtol=1e-4, atol=1e-6)
    n_K = torch.arange(joint_BLK.shape[2])
    expected_BK = output.cardinality()[:, : len(n_K)] * n_K
    torch.testing.assert_close(joint_BLK.sum(1), expected_BK, rtol=1e-4, atol=1e-6)
    log_prob_B = output.log_prob(sets_ML[[5, 17, 2999, 0]].float())
    expected_B = output.logits_BM.log_softmax(1)[range(4), [5, 17, 2999, 0]]
    torch.testing.assert_close(log_prob_B, expected_B)


def test_targets_of_fewer_rows_are_refused_also_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    output, sets_SL = random_output(3, 4), all_sets(3)
    monkeypatch.setattr(mlc.outputs.label_sets, "_BLOCK", 2 * 4)  # two rows
    with pytest.raises(ValueError, match="shorter"):
        output.log_prob(sets_SL[: ROWS - 3])
