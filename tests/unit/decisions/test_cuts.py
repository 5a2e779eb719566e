import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from mlc.decisions import cuts
from mlc.decisions.cuts import Cuts, best_f1_cuts


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
    threshold_L, f1_L = best_f1_cuts(torch.tensor(scores)[:, None], torch.tensor(y).float()[:, None])
    decided = [score > threshold_L.item() for score in scores]
    assert f1_L.item() == pytest.approx(f1_score(y, decided))
    assert threshold_L.tolist() == pytest.approx([expected], abs=1e-7)


def test_where_everything_is_best_the_threshold_is_just_below_the_lowest_score() -> None:
    scores_NL = torch.tensor([[0.5, 0.0], [0.7, 0.3]])
    threshold_L, f1_L = best_f1_cuts(scores_NL, torch.ones(2, 2))
    assert f1_L.tolist() == [1, 1]
    assert (scores_NL > threshold_L).all()
    assert threshold_L.tolist() == [
        float(np.nextafter(np.float32(0.5), np.float32(0))),
        pytest.approx(0, abs=1e-44),
    ]
    assert torch.isfinite(threshold_L).all()


def test_cuts_count_what_they_hit_and_never_split_a_tie() -> None:
    scores_NL = torch.tensor([[0.9], [0.5], [0.5], [0.1]])
    found = Cuts(scores_NL, torch.tensor([[1.0], [0], [1], [1]]))
    assert found.positives_L.tolist() == [3]
    assert found.decided_K1.squeeze(1).tolist() == [0, 1, 2, 3, 4]
    assert found.hits_KL[[0, 1, 3, 4], 0].tolist() == [0, 1, 2, 3]
    # The cut inside the tie is worth most, and is not there.
    assert found.best(torch.tensor([[0.0], [1], [9], [3], [2]])).tolist() == [3]
    assert found.best(torch.zeros(5, 1)).tolist() == [0]


def test_expected_targets_may_be_fractions() -> None:
    p_NL = torch.tensor([[0.8], [0.3], [0.05]])
    threshold_L, f1_L = best_f1_cuts(p_NL, p_NL)
    values = [2 * sum([0.8, 0.3, 0.05][:k]) / (k + 1.15) for k in range(1, 4)]
    assert f1_L.item() == pytest.approx(max(values))
    assert (p_NL > threshold_L).sum() == 1 + values.index(max(values))


def test_without_positives_nothing_is_decided() -> None:
    scores_NL = torch.rand(9, 2)
    threshold_L, f1_L = best_f1_cuts(scores_NL, torch.zeros(9, 2))
    assert torch.equal(threshold_L, scores_NL.amax(0))
    assert f1_L.tolist() == [0, 0]


def test_blocks_of_labels_give_the_same_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    g = torch.Generator().manual_seed(0)
    scores_NL = torch.rand(40, 6, generator=g).mul(9).round()
    y_NL = torch.bernoulli(scores_NL / 10, generator=g)
    whole_L, whole_f1_L = best_f1_cuts(scores_NL, y_NL)
    monkeypatch.setattr(cuts, "_BLOCK_CELLS", 160)
    blocks_L, blocks_f1_L = best_f1_cuts(scores_NL, y_NL)
    assert torch.equal(blocks_L, whole_L)
    assert torch.equal(blocks_f1_L, whole_f1_L)
