import math
from itertools import product

import pytest
import torch
from scipy.stats import poisson_binom
from torch import Tensor

from mlc.outputs.independent import IndependentLabels, poisson_binomial
from tests.unit.outputs.label_sets import enumerate_sets, log_prob_of_what_is_known, with_unknown


def all_sets(n_labels: int) -> Tensor:
    return torch.tensor(list(product([0.0, 1.0], repeat=n_labels)), dtype=torch.float64)


def probability_of_every_set(output: IndependentLabels) -> Tensor:
    """B×2^L probabilities, by asking log_prob about each set."""
    rows = len(output.logits_BL)
    sets_SL = all_sets(output.n_labels)
    log_p = [output.log_prob(set_L.expand(rows, -1)) for set_L in sets_SL]
    return torch.stack(log_p, dim=1).exp()


def random_output(n_labels: int, seed: int = 0) -> IndependentLabels:
    g = torch.Generator().manual_seed(seed)
    return IndependentLabels(torch.randn(5, n_labels, generator=g, dtype=torch.float64) * 3)


@pytest.mark.parametrize("n_labels", [1, 2, 5, 8])
def test_everything_agrees_with_the_sum_over_all_sets(n_labels: int) -> None:
    output = random_output(n_labels)
    p_BS, sets_SL = probability_of_every_set(output), all_sets(n_labels)
    torch.testing.assert_close(p_BS.sum(1), torch.ones(5).double())
    torch.testing.assert_close(output.marginals(), p_BS @ sets_SL)
    torch.testing.assert_close(output.expected_count(), p_BS @ sets_SL.sum(1))
    count_SK = torch.nn.functional.one_hot(sets_SL.sum(1).long(), n_labels + 1).double()
    torch.testing.assert_close(output.cardinality(), p_BS @ count_SK)
    assert torch.equal(output.mode(), sets_SL[p_BS.argmax(1)].bool())


def test_log_prob_is_the_product_of_bernoullis() -> None:
    output = IndependentLabels(torch.logit(torch.tensor([[0.9, 0.2, 0.5]])))
    assert output.log_prob(torch.tensor([[1.0, 0, 1]])).exp().item() == pytest.approx(0.9 * 0.8 * 0.5)


@pytest.mark.parametrize("n_labels", [1, 3, 40, 300])
def test_cardinality_agrees_with_scipy(n_labels: int) -> None:
    p_BL = torch.sigmoid(random_output(n_labels, seed=1).logits_BL)
    for p_L, pmf_K in zip(p_BL, poisson_binomial(p_BL), strict=True):
        expected = torch.from_numpy(poisson_binom(p_L.numpy()).pmf(range(n_labels + 1)))
        torch.testing.assert_close(pmf_K, expected, rtol=1e-9, atol=1e-15)


def test_cardinality_keeps_its_digits_in_float32() -> None:
    pmf_BK = IndependentLabels(torch.linspace(-8, 8, 1000).expand(2, -1)).cardinality()
    assert pmf_BK.dtype == torch.float32
    torch.testing.assert_close(pmf_BK.sum(1), torch.ones(2), rtol=0, atol=1e-4)
    assert (pmf_BK >= 0).all()


def test_certain_labels_are_counted_exactly() -> None:
    pmf_BK = poisson_binomial(torch.tensor([[1.0, 0, 1, 0.5]]))
    assert pmf_BK.tolist() == [[0, 0, 0.5, 0.5, 0]]


def test_a_logit_of_zero_is_left_out_of_the_mode() -> None:
    assert IndependentLabels(torch.tensor([[0.0, 1e-6, -1e-6]])).mode().tolist() == [[False, True, False]]


def test_scores_are_the_marginals_of_the_score_logits() -> None:
    output = random_output(4)
    torch.testing.assert_close(output.scores(), 1 / (1 + torch.exp(-output.score_logits())))
    assert torch.equal(output.scores(), output.marginals())


def test_extreme_logits_stay_finite() -> None:
    output = IndependentLabels(torch.tensor([[1e4, -1e4, 0.0]]))
    assert output.marginals().tolist() == [[1, 0, 0.5]]
    assert output.cardinality().tolist() == [[0, 0.5, 0.5, 0]]
    assert output.log_prob(torch.tensor([[0.0, 1, 0]])).item() == pytest.approx(-2e4 - math.log(2))
    assert output.log_prob(torch.tensor([[1.0, 0, 0]])).item() == pytest.approx(-math.log(2))


def test_gradients_of_the_likelihood_are_finite_at_extreme_logits() -> None:
    logits_BL = torch.tensor([[1e4, -1e4, 50.0]], requires_grad=True)
    IndependentLabels(logits_BL).log_prob(torch.tensor([[0.0, 1, 1]])).sum().backward()
    assert logits_BL.grad is not None
    torch.testing.assert_close(logits_BL.grad, torch.tensor([[-1.0, 1, 0]]))


def test_cardinality_can_be_differentiated() -> None:
    logits_BL = random_output(4).logits_BL.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: IndependentLabels(z).cardinality(), logits_BL)


@pytest.mark.parametrize("n_labels", [1, 2, 5, 8])
def test_marginals_by_count_agree_with_the_sum_over_all_sets(n_labels: int) -> None:
    output = random_output(n_labels)
    exact = enumerate_sets(output)
    torch.testing.assert_close(output.marginals_by_count(), exact.marginals_by_count_BLK)


def test_marginals_by_count_sum_to_marginals_and_counts_for_many_labels() -> None:
    logits_BL = torch.cat((torch.linspace(-60, 60, 900), torch.full((100,), 90.0)))[None]
    output = IndependentLabels(logits_BL)
    joint_BLK = output.marginals_by_count()
    assert joint_BLK.shape == (1, 1000, 1001)
    assert (joint_BLK >= 0).all()
    torch.testing.assert_close(joint_BLK.sum(2), output.marginals(), rtol=1e-4, atol=0)
    expected_BK = output.cardinality() * torch.arange(1001)
    torch.testing.assert_close(joint_BLK.sum(1), expected_BK, rtol=1e-4, atol=1e-4)


def test_marginals_by_count_of_certain_labels_are_exact() -> None:
    joint_LK = IndependentLabels(torch.tensor([[1e4, -1e4, 0.0]])).marginals_by_count()[0]
    assert joint_LK.tolist() == [[0, 0.5, 0.5, 0], [0, 0, 0, 0], [0, 0, 0.5, 0]]


def test_unknown_labels_are_summed_out() -> None:
    output = random_output(6)
    y_BL = with_unknown(all_sets(6)[[0, 63, 21, 42, 7]])
    torch.testing.assert_close(output.log_prob(y_BL), log_prob_of_what_is_known(enumerate_sets(output), y_BL))
    assert torch.equal(output.log_prob(y_BL)[-1], torch.tensor(0.0).double())


def test_unknown_labels_leave_no_gradient() -> None:
    logits_BL = torch.tensor([[1e4, -3.0, 2.0]], requires_grad=True)
    IndependentLabels(logits_BL).log_prob(torch.tensor([[math.nan, 0, math.nan]])).sum().backward()
    assert logits_BL.grad is not None
    assert logits_BL.grad[0].tolist() == pytest.approx([0, -1 / (1 + math.exp(3)), 0])
