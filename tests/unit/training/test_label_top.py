"""The best labels of pieces against a sort of all."""

import pytest
import torch

from mlc.training.label_top import BestLabels

N, L = 6, 10


def best(scores_NL, *, size: int, k: int) -> BestLabels:
    parts = [
        BestLabels.of(
            scores_NL[:, first : first + size], -scores_NL[:, first : first + size], first=first, k=k
        )
        for first in range(0, L, size)
    ]
    found = parts[0]
    for part in parts[1:]:
        found = found.with_others(part, k=k)
    return found


@pytest.mark.parametrize("size", [1, 3, 10])
@pytest.mark.parametrize("k", [1, 4, 12])
def test_are_those_of_all_scores_and_of_equals_the_first(size, k):
    scores_NL = torch.randint(-3, 3, (N, L), generator=torch.Generator().manual_seed(0)).float()
    scores_NL[scores_NL == 2] = -0.0
    scores_NL[0, :2], scores_NL[1, 4:6] = torch.inf, -torch.inf
    found = best(scores_NL, size=size, k=k)
    order_NK = scores_NL.sort(dim=1, descending=True, stable=True).indices[:, :k]
    assert torch.equal(found.label_NK, order_NK)
    assert torch.equal(found.value_NK, -scores_NL.gather(1, order_NK))


def test_each_row_takes_as_many_as_it_wants():
    scores_NL = torch.rand(N, L, generator=torch.Generator().manual_seed(0))
    n_N = torch.tensor([0, 1, 4, 2, 0, 3])
    rows = best(scores_NL, size=4, k=4).first(n_N, n_labels=L)
    expected_NL = torch.zeros(N, L)
    for row, n in enumerate(n_N.tolist()):
        expected_NL[row, scores_NL[row].topk(n).indices] = 1
    assert torch.equal(rows[torch.arange(N)], expected_NL)
