from itertools import product

import pytest
import torch
from scipy.special import log_softmax, logit
from torch import Tensor

from mlc.outputs.single_choice import SingleChoice


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
