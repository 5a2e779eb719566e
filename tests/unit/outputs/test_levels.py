import math
from itertools import product

import pytest
import torch
from torch import Tensor

from mlc.batch import presence
from mlc.outputs.levels import LabelLevels
from tests.unit.outputs.label_sets import with_unknown

ROWS = 5
NAN = math.nan


def random_output(n_labels: int, levels: int, dtype: torch.dtype = torch.float64) -> LabelLevels:
    g = torch.Generator().manual_seed(n_labels + levels)
    return LabelLevels((torch.randn(ROWS, n_labels, levels, generator=g, dtype=torch.float64) * 2).to(dtype))


def enumerate_levels(output: LabelLevels) -> tuple[Tensor, Tensor]:
    """B×S probabilities of all S = K^L assignments of levels, and the S×L assignments."""
    _, n_labels, levels = output.logits_BLK.shape
    levels_SL = torch.tensor(list(product(range(levels), repeat=n_labels))).double()
    log_p = [output.log_prob(y_L.to(output.logits_BLK.dtype).expand(ROWS, -1)) for y_L in levels_SL]
    return torch.stack(log_p, dim=1).double().exp(), levels_SL


@pytest.mark.parametrize(("n_labels", "levels"), [(1, 2), (1, 5), (3, 2), (8, 2), (4, 4), (5, 3)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_everything_agrees_with_the_sum_over_all_levels(
    n_labels: int, levels: int, dtype: torch.dtype
) -> None:
    output = random_output(n_labels, levels, dtype)
    p_BS, levels_SL = enumerate_levels(output)
    there_SL = (levels_SL > 0).double()
    size_SK = torch.nn.functional.one_hot(there_SL.sum(1).long(), n_labels + 1).double()
    joint_BLK = torch.einsum("bs,sl,sk->blk", p_BS, there_SL, size_SK)
    close = {"rtol": 0, "atol": 1e-5 if dtype == torch.float32 else 1e-12, "check_dtype": False}
    torch.testing.assert_close(p_BS.sum(1), torch.ones(ROWS), **close)
    torch.testing.assert_close(output.marginals(), p_BS @ there_SL, **close)
    torch.testing.assert_close(output.cardinality(), p_BS @ size_SK, **close)
    torch.testing.assert_close(output.expected_count(), p_BS @ there_SL.sum(1), **close)
    torch.testing.assert_close(output.marginals_by_count(), joint_BLK, **close)
    torch.testing.assert_close(output.expected_levels(), p_BS @ levels_SL, **close)
    assert torch.equal(output.levels(), levels_SL[p_BS.argmax(1)].long())
    sets_SL, of_S = there_SL.unique(dim=0, return_inverse=True)
    p_of_sets_BS = torch.zeros(ROWS, len(sets_SL)).double().index_add(1, of_S, p_BS)
    assert torch.equal(output.mode(), sets_SL[p_of_sets_BS.argmax(1)].bool())
    assert all(t.dtype == dtype for t in (output.marginals(), output.score_logits(), output.cardinality()))


def test_log_prob_and_levels_by_hand() -> None:
    p_LK = torch.tensor([[0.5, 0.2, 0.3], [0.4, 0.3, 0.3]])
    output = LabelLevels(p_LK.log()[None])
    assert output.log_prob(torch.tensor([[2.0, 1.0]])).exp().item() == pytest.approx(0.3 * 0.3)
    assert output.marginals()[0].tolist() == pytest.approx([0.5, 0.6])
    assert output.expected_levels()[0].tolist() == pytest.approx([0.8, 0.9])
    # The second label is more likely there than not, though no level beats level 0.
    assert output.levels().tolist() == [[0, 0]]
    assert output.mode()[0, 1].item() is True


def test_two_levels_are_independent_labels() -> None:
    output = random_output(4, 2)
    y_BL = (torch.rand(ROWS, 4, generator=torch.Generator().manual_seed(0)) < 0.5).double()
    independent = output.presence()
    torch.testing.assert_close(output.log_prob(y_BL), independent.log_prob(y_BL))
    torch.testing.assert_close(independent.logits_BL, output.logits_BLK[:, :, 1] - output.logits_BLK[:, :, 0])


def test_presence_sums_over_levels() -> None:
    output = random_output(3, 4)
    p_BS, levels_SL = enumerate_levels(output)
    y_BL = torch.tensor([[0.0, 2, 1], [0, 0, 0], [3, 0, 0], [1, 1, 1], [0, 0, 2]]).double()
    same_BS = ((levels_SL > 0) == (y_BL[:, None] > 0)).all(2)
    torch.testing.assert_close(output.presence().log_prob(presence(y_BL)), (p_BS * same_BS).sum(1).log())


def test_unknown_levels_are_summed_out() -> None:
    output = random_output(4, 3)
    p_BS, levels_SL = enumerate_levels(output)
    y_BL = with_unknown(torch.randint(0, 3, (ROWS, 4), generator=torch.Generator().manual_seed(0)).double())
    agrees_BS = (y_BL[:, None].isnan() | (y_BL[:, None] == levels_SL)).all(2)
    log_prob_B = output.log_prob(y_BL)
    torch.testing.assert_close(log_prob_B, (p_BS * agrees_BS).sum(1).log())
    assert log_prob_B[-1] == 0


def test_a_level_that_is_too_high_is_impossible_without_breaking_other_rows() -> None:
    logits_BLK = torch.zeros(2, 2, 3, requires_grad=True)
    log_prob_B = LabelLevels(logits_BLK).log_prob(torch.tensor([[3.0, 0], [2, NAN]]))
    assert log_prob_B.tolist() == pytest.approx([-math.inf, -math.log(3)])
    log_prob_B[1].backward()
    assert logits_BLK.grad is not None
    assert logits_BLK.grad[0].abs().sum() == 0
    torch.testing.assert_close(logits_BLK.grad[1], torch.tensor([[-1 / 3, -1 / 3, 2 / 3], [0, 0, 0]]))


def test_gradients_by_finite_differences() -> None:
    logits_BLK = random_output(3, 3).logits_BLK.requires_grad_()
    y_BL = with_unknown(torch.randint(0, 3, (ROWS, 3), generator=torch.Generator().manual_seed(1)).double())

    def quantities(z: Tensor) -> tuple[Tensor, ...]:
        output = LabelLevels(z)
        return output.log_prob(y_BL), output.score_logits(), output.marginals(), output.expected_levels()

    assert torch.autograd.gradcheck(quantities, logits_BLK)


def test_extreme_logits_stay_finite() -> None:
    logits_BLK = torch.tensor([[[0.0, 1e4, -1e4], [1e4, 0, 0], [0, 10, 40], [0, 0, 0]]], requires_grad=True)
    output = LabelLevels(logits_BLK)
    assert output.score_logits()[0].tolist() == pytest.approx([1e4, math.log(2) - 1e4, 40, math.log(2)])
    assert output.marginals()[0].tolist() == pytest.approx([1, 0, 1, 2 / 3])
    log_prob_B = output.log_prob(torch.tensor([[2.0, 1, NAN, 0]]))
    assert log_prob_B.item() == pytest.approx(-3e4 - math.log(3))
    log_prob_B.sum().backward()
    assert logits_BLK.grad is not None
    assert logits_BLK.grad.isfinite().all()
