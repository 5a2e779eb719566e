import pytest
import torch

from mlc.decisions.top_k import TopK
from mlc.errors import UserError
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.shares import LabelShares


def test_k_labels_per_example() -> None:
    output = LabelShares(torch.tensor([[0.0, 2, 1, 3], [5, 5, 5, 5]]))
    rule = TopK(n_labels=4, k=2)
    rule.check(output)
    rule.fit(output, torch.ones(2, 4))
    assert rule(output).tolist() == [[False, True, False, True], [True, True, False, False]]
    assert rule.thresholds() is None


def test_saturated_marginals_still_rank() -> None:
    output = IndependentLabels(torch.tensor([[100.0, 101, 102]]))
    assert len(output.marginals().unique()) == 1
    assert TopK(n_labels=3, k=1)(output).tolist() == [[False, False, True]]


def test_more_labels_than_there_are_is_a_mistake() -> None:
    output = LabelShares(torch.zeros(1, 3))
    TopK(n_labels=3, k=3).check(output)
    with pytest.raises(UserError, match=r"decision\.k=4 .*at most 3"):
        TopK(n_labels=3, k=4).check(output)
