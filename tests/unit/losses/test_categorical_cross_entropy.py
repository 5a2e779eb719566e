import pytest
import torch
from sklearn.metrics import log_loss

from mlc.losses.base import PairingError
from mlc.losses.categorical_cross_entropy import CategoricalCrossEntropy
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.shares import LabelShares
from mlc.outputs.single_choice import SingleChoice
from tests.unit.losses.expected import optimal_raw

LOSS = CategoricalCrossEntropy()


def test_one_label_per_row_equals_scikit_learns_log_loss() -> None:
    z_BL = torch.randn(40, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    chosen_B = torch.arange(40) % 5
    y_BL = torch.nn.functional.one_hot(chosen_B, 5).double()
    mean = LOSS(SingleChoice(z_BL), y_BL).mean().item()
    assert mean == pytest.approx(log_loss(chosen_B, z_BL.softmax(1)), rel=1e-10)
    assert LOSS(LabelShares(z_BL), y_BL).mean().item() == pytest.approx(mean)


def test_gradient_by_finite_differences() -> None:
    y_BL = torch.tensor([[1.0, 0, 1], [0, 0, 0], [0, 1, 0]], dtype=torch.float64)
    z_BL = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: LOSS(LabelShares(z), y_BL), z_BL)


def test_rows_without_labels_are_said_to_be_ignored_and_are() -> None:
    assert LOSS.ignores_empty_rows
    z_BL = torch.randn(2, 3, requires_grad=True)
    loss_B = LOSS(LabelShares(z_BL), torch.zeros(2, 3))
    loss_B.sum().backward()
    assert loss_B.tolist() == [0, 0]
    assert z_BL.grad is not None
    assert (z_BL.grad == 0).all()


def test_optimum_is_the_mean_share_among_rows_with_labels() -> None:
    sets_SL = torch.tensor([[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]], dtype=torch.float64)
    chance_S = torch.tensor([0.3, 0.1, 0.4, 0.2], dtype=torch.float64)
    raw_L = optimal_raw(LOSS, LabelShares, 3, sets_SL, chance_S)
    linked = LOSS.link(LabelShares(raw_L[None]))
    assert isinstance(linked, LabelShares)
    # By hand: label 1: .1 · 1 + .4 · ½ + .2 · ⅓, and so on; divided by P(n > 0) = .7.
    expected = [(0.1 + 0.2 + 0.2 / 3) / 0.7, (0.2 + 0.2 / 3) / 0.7, 0.2 / 3 / 0.7]
    assert linked.scores()[0].tolist() == pytest.approx(expected, abs=1e-7)


def test_single_choice_learns_its_marginals() -> None:
    chance_S = torch.tensor([0.05, 0.25, 0.7], dtype=torch.float64)
    raw_L = optimal_raw(LOSS, SingleChoice, 3, torch.eye(3, dtype=torch.float64), chance_S)
    assert LOSS.link(SingleChoice(raw_L[None])).marginals()[0].tolist() == pytest.approx([0.05, 0.25, 0.7])


def test_independent_labels_are_refused() -> None:
    with pytest.raises(PairingError, match="IndependentLabels"):
        LOSS.check(IndependentLabels(torch.zeros(1, 2)))
