from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from sklearn.metrics import log_loss
from torch import Tensor

from mlc.batch import LabelStatistics
from mlc.losses.base import PairingError
from mlc.losses.negative_log_likelihood import NegativeLogLikelihood
from mlc.outputs.base import LabelOutput
from mlc.outputs.chain import LabelChain
from mlc.outputs.conditional_bernoulli import ConditionalBernoulli
from mlc.outputs.counts import CategoricalCount
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.label_sets import LabelSets
from mlc.outputs.levels import LabelLevels
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


def test_levels_cost_the_cross_entropy_of_each_label() -> None:
    logits_BLK = torch.randn(5, 3, 4, dtype=torch.float64)
    y_BL = torch.randint(0, 4, (5, 3))
    expected = [
        sum(log_loss([y], [p], labels=range(4)) for y, p in zip(y_L, p_LK, strict=True))
        for y_L, p_LK in zip(y_BL.numpy(), logits_BLK.softmax(2).numpy(), strict=True)
    ]
    np.testing.assert_allclose(SEVERAL(LabelLevels(logits_BLK), y_BL.double()), expected, rtol=1e-10)


def test_only_label_levels_read_the_levels_themselves() -> None:
    assert SEVERAL.reads_levels(LabelLevels(torch.zeros(1, 3, 4)))
    assert not SEVERAL.reads_levels(IndependentLabels(torch.zeros(1, 3)))


def test_label_sets_find_the_chance_of_every_set() -> None:
    raw = optimal_raw(SEVERAL, lambda raw: LabelSets(raw, SETS_SL.bool()), 5, SETS_SL, CHANCE_S)
    assert raw.softmax(0).tolist() == pytest.approx(CHANCE_S.tolist(), abs=1e-5)


def test_a_chain_of_labels_costs_its_conditional_probabilities() -> None:
    # z = 0 and a link of log 3 from the first label to the second: σ(0), then σ(log 3) = 3/4.
    links_LL = torch.tensor([[0.0, 0.0], [np.log(3), 0.0]])
    loss_B = SEVERAL(LabelChain(torch.zeros(2, 2), links_LL), torch.tensor([[1.0, 1.0], [0.0, 1.0]]))
    assert loss_B.tolist() == pytest.approx([-np.log(0.5 * 0.75), -np.log(0.5 * 0.5)])


@pytest.mark.parametrize(
    ("output", "y"),
    [
        (lambda raw: LabelLevels(raw.unflatten(1, (2, 3))), [3.0, 0.0]),
        (lambda raw: LabelSets(raw[:, :3], torch.tensor([[0, 0], [1, 0], [0, 1]]).bool()), [1.0, 1.0]),
        (lambda raw: SingleChoice(raw[:, :2]), [0.0, 0.0]),
    ],
)
def test_what_no_training_row_has_counts_nothing(
    output: Callable[[Tensor], LabelOutput], y: list[float]
) -> None:
    raw = torch.randn(2, 6).requires_grad_()
    loss_B = SINGLE(output(raw), torch.tensor([y, [0.0, 1.0]]))
    assert loss_B[0] == 0
    assert loss_B[1] > 0
    loss_B.sum().backward()
    assert raw.grad is not None
    assert not raw.grad[0].any()
    assert raw.grad[1].any()


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
