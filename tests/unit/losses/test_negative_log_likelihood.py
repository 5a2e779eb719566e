import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from sklearn.metrics import log_loss
from torch import Tensor

from mlc.batch import LabelStatistics
from mlc.losses.base import PairingError
from mlc.losses.negative_log_likelihood import NegativeLogLikelihood
from mlc.outputs.conditional_bernoulli import ConditionalBernoulli
from mlc.outputs.counts import CategoricalCount
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.shares import LabelShares
from mlc.outputs.single_choice import SingleChoice
from tests.unit.losses.expected import optimal_raw

SETS_SL = torch.tensor([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 1], [1, 1, 1]], dtype=torch.float64)
CHANCE_S = torch.tensor([0.1, 0.2, 0.3, 0.25, 0.15], dtype=torch.float64)
SEVERAL = NegativeLogLikelihood(labels=LabelStatistics.from_targets(SETS_SL))
SINGLE = NegativeLogLikelihood(labels=LabelStatistics.from_targets(torch.eye(3)))


def joint(raw: Tensor) -> ConditionalBernoulli:
    """Weights of three labels, and the logits of 0 to 3 labels."""
    return ConditionalBernoulli(raw[:, :3], CategoricalCount(raw[:, 3:]))


def test_independent_labels_cost_their_cross_entropy() -> None:
    logits_BL = torch.randn(5, 3, dtype=torch.float64)
    p_BL = torch.sigmoid(logits_BL).numpy()
    expected = [3 * log_loss(y, p, labels=[0, 1]) for y, p in zip(SETS_SL.numpy(), p_BL, strict=True)]
    np.testing.assert_allclose(SEVERAL(IndependentLabels(logits_BL), SETS_SL), expected, rtol=1e-10)


def test_a_single_choice_costs_its_cross_entropy() -> None:
    logits_BL = torch.randn(3, 3, dtype=torch.float64)
    expected = -np.diag(log_softmax(logits_BL.numpy(), axis=1))
    np.testing.assert_allclose(SINGLE(SingleChoice(logits_BL), torch.eye(3).double()), expected, rtol=1e-10)


def test_a_conditional_bernoulli_finds_the_counts_and_the_marginals() -> None:
    raw = optimal_raw(SEVERAL, joint, 7, SETS_SL, CHANCE_S)
    linked = SEVERAL.link(joint(raw[None]))
    assert linked.cardinality()[0].tolist() == pytest.approx([0.1, 0.2, 0.55, 0.15], abs=1e-5)
    # An exponential family, so the likelihood matches the mean of what it sums over: y.
    assert linked.marginals()[0].tolist() == pytest.approx((CHANCE_S @ SETS_SL).tolist(), abs=1e-5)


def test_impossible_rows_count_nothing_and_leave_the_others_their_gradient() -> None:
    raw = torch.randn(2, 6).requires_grad_()
    output = ConditionalBernoulli(raw[:, :3], CategoricalCount(raw[:, 3:]))
    loss_B = SEVERAL(output, torch.tensor([[1.0, 1, 1], [1, 0, 1]]))
    assert loss_B[0] == 0
    assert loss_B[1] > 0
    loss_B.sum().backward()
    assert raw.grad is not None
    assert not raw.grad[0].any()
    assert raw.grad[1].all()


def test_single_choice_is_refused_where_a_training_row_has_not_one_label() -> None:
    SINGLE.check(SingleChoice(torch.zeros(1, 3)))
    with pytest.raises(PairingError, match="SingleChoice gives no probability"):
        SEVERAL.check(SingleChoice(torch.zeros(1, 3)))


def test_outputs_that_are_no_distribution_are_refused() -> None:
    with pytest.raises(PairingError, match="LabelShares"):
        SINGLE.check(LabelShares(torch.zeros(1, 3)))


def test_link_is_the_output_itself() -> None:
    output = joint(torch.zeros(1, 7))
    assert SEVERAL.link(output) is output
