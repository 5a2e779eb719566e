import torch

from mlc.metrics import ranks
from mlc.metrics.ranks import positive_ranks


def test_ranks_by_counting():
    g = torch.Generator().manual_seed(0)
    scores = torch.cat([torch.randn(20, 9, generator=g).round(), torch.randn(20, 9, generator=g) * 1e6])
    y = torch.rand(40, 9, generator=g) < 0.4
    y[3] = False
    expected = [
        (
            row,
            int((scores[row] > scores[row, column]).sum()),
            int((scores[row] >= scores[row, column]).sum()),
            int((scores[row][y[row]] >= scores[row, column]).sum()),
        )
        for row, column in y.nonzero().tolist()
    ]
    ranks = positive_ranks(scores, y)
    assert sorted(zip(*(values.tolist() for values in ranks[:4]), strict=True)) == sorted(expected)
    assert ranks.positives_R.tolist() == y.sum(1).tolist()


def test_positives_come_by_row_and_from_the_lowest_score():
    ranks = positive_ranks(torch.tensor([[3.0, 1.0, 2.0], [-3.0, -1.0, -2.0]]), torch.ones(2, 3))
    assert ranks.row_P.tolist() == [0, 0, 0, 1, 1, 1]
    assert ranks.at_least_P.tolist() == [3, 2, 1, 3, 2, 1]


def test_extreme_scores_keep_their_order_and_zeros_are_tied():
    scores = torch.tensor([[-torch.inf, -1e38, -1e-45, -0.0, 0.0, 1e-45, 1e38, torch.inf]])
    ranks = positive_ranks(scores, torch.ones(1, 8))
    assert ranks.at_least_P.tolist() == [8, 7, 6, 5, 5, 3, 2, 1]
    assert ranks.above_P.tolist() == [7, 6, 5, 3, 3, 2, 1, 0]


def test_scores_of_one_row_do_not_reach_into_another():
    alone = positive_ranks(torch.tensor([[0.5, 0.2]]), torch.ones(1, 2))
    between = positive_ranks(torch.tensor([[9.0, 9.0], [0.5, 0.2], [-9.0, 9.0]]), torch.ones(3, 2))
    assert between.at_least_P[2:4].tolist() == alone.at_least_P.tolist()


def test_unknown_cells_count_nowhere_even_beside_minus_infinity():
    scores = torch.tensor([[5.0, -torch.inf, 1.0, 2.0], [0.0, 1.0, 2.0, 3.0]])
    y = torch.tensor([[torch.nan, 1.0, 0.0, 1.0], [torch.nan, torch.nan, torch.nan, 1.0]])
    for targets in (y, y.nan_to_num(nan=-1).to(torch.int8)):
        ranks = positive_ranks(scores, targets)
        assert ranks.row_P.tolist() == [0, 0, 1]
        assert ranks.at_least_P.tolist() == [3, 1, 1]
        assert ranks.above_P.tolist() == [2, 0, 0]
        assert ranks.positives_at_least_P.tolist() == [2, 1, 1]
        assert ranks.positives_R.tolist() == [2, 1]
        assert ranks.known_R.tolist() == [3, 1]


def test_a_row_far_below_the_others_does_not_hide_their_ranks(monkeypatch):
    """Of a row only what is above its lowest positive is sorted; the positives of these differ widely."""
    g = torch.Generator().manual_seed(1)
    scores = torch.randn(30, 12, generator=g)
    y = torch.zeros(30, 12, dtype=torch.bool)
    y[
        torch.arange(28), torch.where(torch.arange(28) % 3 == 0, scores[:28].argmin(1), scores[:28].argmax(1))
    ] = True
    whole = positive_ranks(scores, y)
    assert whole.above_P.tolist() == [11 if row % 3 == 0 else 0 for row in range(28)]
    assert whole.at_least_P.tolist() == [12 if row % 3 == 0 else 1 for row in range(28)]
    monkeypatch.setattr(ranks, "CELLS", 24)
    blocks = positive_ranks(scores, y)
    assert [values.tolist() for values in blocks[:5]] == [values.tolist() for values in whole[:5]]
