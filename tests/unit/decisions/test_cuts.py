import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from mlc.decisions import cuts
from mlc.decisions.cuts import Cuts, best_f1_cuts, counted, highest_scores, without_positives


def ones(rows: int, n_labels: int) -> torch.Tensor:
    return torch.ones(rows, n_labels, dtype=torch.float64)


@pytest.mark.parametrize(
    ("scores", "y", "expected"),
    [
        ([0.1, 0.4, 0.8], [0, 0, 1], 0.6),
        ([0.8, 0.1, 0.4], [1, 0, 1], 0.25),
        ([0.5, 0.5, 0.25], [1, 0, 0], 0.375),  # no cut inside the tie
        ([0.2, 0.4, 0.6, 0.8], [0, 1, 0, 1], 0.3),
        ([0.9, 0.8, 0.7, 0.6], [1, 0, 0, 1], 0.85),  # cuts after 1 and after 4 both give 2/3: the higher wins
    ],
)
def test_thresholds_by_hand(scores: list[float], y: list[float], expected: float) -> None:
    threshold_L, f1_L = best_f1_cuts(
        torch.tensor(scores)[:, None], torch.tensor(y).float()[:, None], ones(len(y), 1)
    )
    decided = [score > threshold_L.item() for score in scores]
    assert f1_L.item() == pytest.approx(f1_score(y, decided))
    assert threshold_L.tolist() == pytest.approx([expected], abs=1e-7)


def test_where_everything_is_best_the_threshold_is_just_below_the_lowest_score() -> None:
    scores_NL = torch.tensor([[0.5, 0.0], [0.7, 0.3]])
    threshold_L, f1_L = best_f1_cuts(scores_NL, torch.ones(2, 2), ones(2, 2))
    assert f1_L.tolist() == [1, 1]
    assert (scores_NL > threshold_L).all()
    assert threshold_L.tolist() == [
        float(np.nextafter(np.float32(0.5), np.float32(0))),
        pytest.approx(0, abs=1e-44),
    ]
    assert torch.isfinite(threshold_L).all()


def test_cuts_count_what_they_hit_and_never_split_a_tie() -> None:
    scores_NL = torch.tensor([[0.9], [0.5], [0.5], [0.1]])
    found = Cuts(scores_NL, torch.tensor([[1.0], [0], [1], [1]]), ones(4, 1))
    assert found.positives_L.tolist() == [3]
    assert found.decided_KL.squeeze(1).tolist() == [0, 1, 2, 3, 4]
    assert found.hits_KL[[0, 1, 3, 4], 0].tolist() == [0, 1, 2, 3]
    # The cut inside the tie is worth most, and is not there.
    assert found.best(torch.tensor([[0.0], [1], [9], [3], [2]])).tolist() == [3]
    assert found.best(torch.zeros(5, 1)).tolist() == [0]


def test_expected_targets_may_be_fractions() -> None:
    p_NL = torch.tensor([[0.8], [0.3], [0.05]])
    threshold_L, f1_L = best_f1_cuts(p_NL, p_NL, ones(3, 1))
    values = [2 * sum([0.8, 0.3, 0.05][:k]) / (k + 1.15) for k in range(1, 4)]
    assert f1_L.item() == pytest.approx(max(values))
    assert (p_NL > threshold_L).sum() == 1 + values.index(max(values))


def test_without_positives_nothing_is_decided() -> None:
    scores_NL = torch.rand(9, 2)
    threshold_L, f1_L = best_f1_cuts(scores_NL, torch.zeros(9, 2), ones(9, 2))
    assert torch.equal(threshold_L, scores_NL.amax(0))
    assert f1_L.tolist() == [0, 0]


def test_blocks_of_labels_give_the_same_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    g = torch.Generator().manual_seed(0)
    scores_NL = torch.rand(40, 6, generator=g).mul(9).round()
    y_NL = torch.bernoulli(scores_NL / 10, generator=g)
    count_NL = torch.rand(40, 6, generator=g).mul(3).round().double()
    whole_L, whole_f1_L = best_f1_cuts(scores_NL, y_NL, count_NL)
    monkeypatch.setattr(cuts, "_BLOCK_CELLS", 160)
    blocks_L, blocks_f1_L = best_f1_cuts(scores_NL, y_NL, count_NL)
    assert torch.equal(blocks_L, whole_L)
    assert torch.equal(blocks_f1_L, whole_f1_L)


def test_entries_count_as_often_as_their_row_and_not_at_all_where_unknown() -> None:
    nan = float("nan")
    y_NL = torch.tensor([[1.0, nan, 0, 1], [0, nan, 0, nan], [0, 1, 0, 0]])
    assert counted(y_NL, None).tolist() == [[1, 0, 1, 1], [1, 0, 1, 0], [1, 1, 1, 1]]
    count_NL = counted(y_NL, torch.tensor([2.5, 1, 0]))
    assert count_NL.dtype == torch.float64
    assert count_NL.tolist() == [[2.5, 0, 2.5, 2.5], [1, 0, 1, 0], [0, 0, 0, 0]]
    assert without_positives(y_NL, count_NL).tolist() == [False, True, True, False]
    scores_NL = torch.tensor([[1.0, 1, 1, 1], [2, 2, 2, 2], [3, 3, 3, 3]])
    assert highest_scores(scores_NL, count_NL).tolist() == [2, torch.inf, 2, 1]


def test_scores_that_do_not_count_make_no_cut_and_move_none() -> None:
    # The removed 0.45 lies between the scores beside the best cut, 0.95 and 0.05 beyond all others.
    scores_NL = torch.tensor([[0.95], [0.9], [0.5], [0.45], [0.3], [0.05]])
    y_NL = torch.tensor([[1.0], [1], [1], [float("nan")], [0], [1]])
    count_NL = torch.tensor([[0.0], [1], [2], [0], [1], [0]]).double()
    found = Cuts(scores_NL, y_NL, count_NL)
    assert found.positives_L.tolist() == [3]
    assert found.decided_KL[[0, 1, 2, 6], 0].tolist() == [0, 1, 3, 4]
    assert found.best(torch.tensor([[1.0], [2], [3], [9], [9], [9], [0]])).tolist() == [2]
    threshold_L, f1_L = best_f1_cuts(scores_NL, y_NL, count_NL)
    assert threshold_L.tolist() == pytest.approx([0.4])
    assert f1_L.tolist() == [1]
    assert found.thresholds(torch.tensor([0])).tolist() == [pytest.approx(0.9)]
    everything = np.nextafter(np.float32(0.3), np.float32(0))
    assert found.thresholds(torch.tensor([6])).tolist() == [float(everything)]


def test_a_column_where_nothing_counts_is_cut_at_infinity() -> None:
    scores_NL, y_NL = torch.rand(4, 2), torch.ones(4, 2)
    count_NL = ones(4, 2)
    count_NL[:, 1] = 0
    threshold_L, f1_L = best_f1_cuts(scores_NL, y_NL, count_NL)
    assert threshold_L[0] < scores_NL[:, 0].min()
    assert threshold_L[1] == torch.inf
    assert f1_L.tolist() == [1, 0]


def test_weights_of_any_size_give_the_f1_of_their_share() -> None:
    g = torch.Generator().manual_seed(0)
    scores_NL = torch.rand(30, 3, generator=g).mul(20).round()
    y_NL = torch.bernoulli(scores_NL / 20, generator=g)
    weight_N = torch.rand(30, generator=g)
    threshold_L, f1_L = best_f1_cuts(scores_NL, y_NL, counted(y_NL, weight_N * 1e-3))
    for label in range(3):
        scores, y = scores_NL[:, label].numpy(), y_NL[:, label].numpy()
        values = [f1_score(y, scores >= cut, sample_weight=weight_N.numpy()) for cut in np.unique(scores)]
        decided = scores > threshold_L[label].item()
        assert f1_L[label].item() == pytest.approx(max(values))
        assert f1_score(y, decided, sample_weight=weight_N.numpy()) == pytest.approx(max(values))
