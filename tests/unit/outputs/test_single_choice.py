import math
from itertools import product

import pytest
import torch
from scipy.special import log_softmax, logit
from torch import Tensor

from mlc.outputs.single_choice import SingleChoice
from tests.unit.outputs.label_sets import enumerate_sets, log_prob_of_what_is_known, with_unknown


def all_sets(n_labels: int) -> Tensor:
    return torch.tensor(list(product([0.0, 1.0], repeat=n_labels)), dtype=torch.float64)


def random_output(n_labels: int) -> SingleChoice:
    g = torch.Generator().manual_seed(n_labels)
    return SingleChoice(torch.randn(5, n_labels, generator=g, dtype=torch.float64) * 3)


@pytest.mark.parametrize("n_labels", [1, 2, 5, 8])
def test_everything_agrees_with_the_sum_over_all_sets(n_labels: int) -> None:
    output, sets_SL = random_output(n_labels), all_sets(n_labels)
    p_BS = torch.stack([output.log_prob(set_L.expand(5, -1)) for set_L in sets_SL], dim=1).exp()
    torch.testing.assert_close(p_BS.sum(1), torch.ones(5).double())
    torch.testing.assert_close(output.marginals(), p_BS @ sets_SL)
    torch.testing.assert_close(output.expected_count(), p_BS @ sets_SL.sum(1))
    count_SK = torch.nn.functional.one_hot(sets_SL.sum(1).long(), n_labels + 1).double()
    torch.testing.assert_close(output.cardinality(), p_BS @ count_SK)
    assert torch.equal(output.mode(), sets_SL[p_BS.argmax(1)].bool())


def test_agrees_with_scipy() -> None:
    output = random_output(6)
    expected = torch.from_numpy(log_softmax(output.logits_BL.numpy(), axis=1))
    torch.testing.assert_close(output.score_logits(), torch.from_numpy(logit(expected.exp().numpy())))
    torch.testing.assert_close(output.scores(), expected.exp())
    one_hot_BL = torch.eye(6).double()[[0, 5, 2, 2, 1]]
    torch.testing.assert_close(output.log_prob(one_hot_BL), (expected * one_hot_BL).sum(1))


def test_none_or_several_labels_are_impossible() -> None:
    log_p_B = SingleChoice(torch.randn(3, 3)).log_prob(torch.tensor([[0.0, 0, 0], [1, 1, 0], [0, 1, 0]]))
    assert log_p_B[:2].tolist() == [-torch.inf, -torch.inf]
    assert torch.isfinite(log_p_B[2])


def test_the_first_of_equal_labels_is_the_mode() -> None:
    assert SingleChoice(torch.tensor([[1.0, 2, 2]])).mode().tolist() == [[False, True, False]]


def test_extreme_logits_stay_finite() -> None:
    output = SingleChoice(torch.tensor([[1e4, -1e4, 0.0]]))
    assert output.marginals().tolist() == [[1, 0, 0]]
    assert output.score_logits().tolist() == [[1e4, -2e4, -1e4]]
    assert output.log_prob(torch.tensor([[0.0, 1, 0]])).item() == -2e4


def test_gradient_of_the_likelihood_is_softmax_less_target() -> None:
    logits_BL = random_output(4).logits_BL.requires_grad_()
    y_BL = torch.eye(4).double()[[0, 1, 2, 3, 0]]
    SingleChoice(logits_BL).log_prob(y_BL).sum().backward()
    torch.testing.assert_close(logits_BL.grad, y_BL - torch.softmax(logits_BL.detach(), 1))


def test_unknown_labels_are_summed_out() -> None:
    output = random_output(6)
    for chosen in range(6):
        y_BL = with_unknown(torch.eye(6).double()[[chosen] * 5], seed=chosen)
        torch.testing.assert_close(
            output.log_prob(y_BL), log_prob_of_what_is_known(enumerate_sets(output), y_BL)
        )


def test_what_is_known_decides_which_choices_are_left() -> None:
    logits_BL = torch.tensor([[0.1, 0.2, 0.3, 0.4]]).log().expand(6, -1).clone().requires_grad_()
    nan = math.nan
    y_BL = torch.tensor(
        [
            [nan, 1, 0, nan],  # the known one
            [nan, 0, 0, nan],  # one of the unknown
            [nan, nan, nan, nan],  # any
            [1, 1, nan, nan],  # two are impossible
            [0, 0, 0, 0],  # none is impossible
            [0, 0, nan, 0],  # only one is left
        ]
    )
    log_prob_B = SingleChoice(logits_BL).log_prob(y_BL)
    assert log_prob_B.exp().tolist() == pytest.approx([0.2, 0.5, 1, 0, 0, 0.3])
    log_prob_B.sum().backward()
    p_L = logits_BL.detach()[0].exp()
    left_BL = torch.tensor([[0, 1, 0, 0], [0.2, 0, 0, 0.8], p_L.tolist(), [0] * 4, [0] * 4, [0, 0, 1, 0]])
    possible_B1 = torch.tensor([1.0, 1, 1, 0, 0, 1])[:, None]
    torch.testing.assert_close(logits_BL.grad, left_BL - p_L * possible_B1)


def test_broken_logits_are_not_taken_for_an_impossible_set() -> None:
    assert SingleChoice(torch.full((1, 2), math.nan)).log_prob(torch.tensor([[0.0, 1]])).isnan().all()
