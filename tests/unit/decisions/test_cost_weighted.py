import itertools

import pytest
import torch

from mlc.decisions.cost_weighted import CostWeighted
from mlc.outputs.independent import IndependentLabels


@pytest.mark.parametrize(
    ("false_positive", "false_negative"), [(1.0, 1.0), (1.0, 9.0), (3.0, 1.0), (1e-3, 1e3)]
)
def test_decides_the_set_of_least_expected_cost(false_positive: float, false_negative: float) -> None:
    p_BL = torch.tensor([[0.9, 0.55, 0.2, 0.05], [0.7, 0.3, 0.45, 0.12]])
    rule = CostWeighted(n_labels=4, false_positive=false_positive, false_negative=false_negative)
    rule.fit(IndependentLabels(p_BL.logit()), torch.ones(2, 4))
    for p_L, decided_L in zip(p_BL.tolist(), rule(IndependentLabels(p_BL.logit())).tolist(), strict=True):
        costs = {
            chosen: sum(
                (1 - p) * false_positive if is_in else p * false_negative
                for p, is_in in zip(p_L, chosen, strict=True)
            )
            for chosen in itertools.product([False, True], repeat=4)
        }
        assert tuple(decided_L) == min(costs, key=costs.__getitem__)


def test_equal_costs_are_the_threshold_one_half_and_extreme_costs_stay_inside() -> None:
    assert CostWeighted(n_labels=2, false_positive=3.0, false_negative=3.0).thresholds().tolist() == [
        0.5,
        0.5,
    ]
    rule = CostWeighted(n_labels=1, false_positive=1e300, false_negative=1e300)
    assert rule.thresholds().tolist() == [0.5]
    rule = CostWeighted(n_labels=1, false_positive=1e-300, false_negative=1e-300)
    assert rule.thresholds().tolist() == [0.5]
