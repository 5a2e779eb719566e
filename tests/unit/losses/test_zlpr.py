import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from mlc.losses.base import PairingError
from mlc.losses.zlpr import ZLPR
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.shares import LabelShares
from tests.unit.losses.checks import (
    assert_finite_at_extremes,
    assert_gradient_by_finite_differences,
    assert_scores_only,
    gradient,
    losses,
    random_rows,
)
from tests.unit.losses.expected import optimal_logits, optimal_raw

LOSS = ZLPR()


def written_out(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Su et al. 2022, row by row with the sets of true and false labels."""
    rows = []
    for z_row, y_row in zip(z, y, strict=True):
        true, false = z_row[y_row == 1], z_row[y_row == 0]
        rows.append(math.log(1 + np.exp(false).sum()) + math.log(1 + np.exp(-true).sum()))
    return np.array(rows)


def all_sets(p_L: list[float]) -> tuple[Tensor, Tensor]:
    """Every label set, and its probability when labels are independent."""
    sets_SL = torch.tensor(list(itertools.product([0.0, 1.0], repeat=len(p_L)))).double()
    p = torch.tensor(p_L).double()
    return sets_SL, (sets_SL * p + (1 - sets_SL) * (1 - p)).prod(1)


def optimum(sets_SL: Tensor, chance_S: Tensor) -> Tensor:
    return optimal_raw(LOSS, IndependentLabels, sets_SL.shape[1], sets_SL, chance_S)


def test_hand_value() -> None:
    # One true at log 2, two false at 0: log(1 + ½) + log(1 + 2).
    z, y = np.array([[math.log(2), 0.0, 0.0]]), np.array([[1.0, 0.0, 0.0]])
    assert losses(LOSS, z, y).item() == pytest.approx(math.log(1.5) + math.log(3), rel=1e-12)


def test_equals_the_written_out_formula() -> None:
    z, y = random_rows()
    np.testing.assert_allclose(losses(LOSS, z, y), written_out(z, y), rtol=1e-9)


def test_gradient_by_finite_differences() -> None:
    assert_gradient_by_finite_differences(LOSS)


def test_extreme_logits_stay_finite() -> None:
    assert_finite_at_extremes(LOSS)


def test_confident_mistakes_cost_their_logit() -> None:
    loss_B, grad_BL = gradient(LOSS, torch.tensor([[-1e4, 2e4]]), torch.tensor([[1.0, 0.0]]))
    assert loss_B.item() == pytest.approx(3e4)
    assert grad_BL[0].tolist() == [-1, 1]


@pytest.mark.parametrize("p", [0.02, 0.5, 0.9])
def test_with_one_label_the_optimum_is_its_probability(p: float) -> None:
    assert optimal_logits(LOSS, [p]).sigmoid().item() == pytest.approx(p, rel=1e-4)


def test_with_several_labels_the_optimum_is_level_where_documented_and_no_probability() -> None:
    p_L = [0.8, 0.3, 0.3]
    sets_SL, chance_S = all_sets(p_L)
    z_L = optimum(sets_SL, chance_S)
    true_S = 1 + (sets_SL * torch.exp(-z_L)).sum(1)
    false_S = 1 + ((1 - sets_SL) * torch.exp(z_L)).sum(1)
    up_L = (chance_S[:, None] * sets_SL / true_S[:, None]).sum(0)
    down_L = (chance_S[:, None] * (1 - sets_SL) / false_S[:, None]).sum(0)
    torch.testing.assert_close(2 * z_L, up_L.log() - down_L.log(), rtol=0, atol=1e-5)
    assert (z_L.sigmoid() - torch.tensor(p_L)).abs().max() > 0.03


def test_the_optimum_of_a_label_depends_on_the_others() -> None:
    # The reason for scores only: both first labels are true with probability .3, independently of the rest.
    alone, among_frequent = (optimum(*all_sets([0.3, p, p]))[0] for p in (0.05, 0.9))
    assert (alone - among_frequent).abs() > 0.05


@pytest.mark.parametrize("p", [0.05, 0.5, 0.95])
def test_a_nearly_certain_label_is_on_its_side_of_zero(p: float) -> None:
    z_L = optimum(*all_sets([0.999, p, 0.001, p]))
    assert z_L[0] > 1
    assert z_L[2] < -1


def test_the_link_leaves_scores_with_the_cut_at_one_half() -> None:
    assert_scores_only(LOSS)
    assert LOSS.link(IndependentLabels(torch.zeros(1, 2))).scores().tolist() == [[0.5, 0.5]]


def test_shares_are_refused() -> None:
    with pytest.raises(PairingError, match="LabelShares"):
        LOSS.check(LabelShares(torch.zeros(1, 3)))
