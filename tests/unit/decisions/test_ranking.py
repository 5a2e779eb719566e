import torch

from mlc.decisions.ranking import highest


def test_exactly_n_highest_with_ties_to_the_first_label() -> None:
    scores_BL = torch.tensor([[0.1, 0.9, 0.5], [1, 1, 1], [2, 3, 3], [-torch.inf, 0, -1]])
    decided_BL = highest(scores_BL, torch.tensor([1, 2, 1, 0]))
    assert decided_BL.tolist() == [
        [False, True, False],
        [True, True, False],
        [False, True, False],
        [False, False, False],
    ]
    assert highest(scores_BL, torch.full((4,), 3)).all()


def test_ties_are_stable_in_wide_rows() -> None:
    decided_BL = highest(torch.zeros(2, 5000), torch.tensor([7, 4999]))
    assert decided_BL[0].nonzero().squeeze(1).tolist() == list(range(7))
    assert not decided_BL[1, -1]
    assert decided_BL[1].sum() == 4999


def test_agrees_with_python_sorting() -> None:
    g = torch.Generator().manual_seed(0)
    scores_BL = torch.randint(0, 6, (50, 9), generator=g).float()
    n_B = torch.randint(0, 10, (50,), generator=g)
    for scores, n, decided in zip(
        scores_BL.tolist(), n_B.tolist(), highest(scores_BL, n_B).tolist(), strict=True
    ):
        best = sorted(range(9), key=lambda label: (-scores[label], label))[:n]
        assert [label for label in range(9) if decided[label]] == sorted(best)
