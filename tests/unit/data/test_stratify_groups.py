import numpy as np
import pytest
import torch
from torch import Tensor

from mlc.data.stratify_groups import stratified_groups
from mlc.rows import LabelRows


def grouped(n_groups: int = 300) -> tuple[Tensor, np.ndarray]:
    """Groups of 1 to 9 rows, whose rows are alike in their labels."""
    random = np.random.default_rng(0)
    group_N = random.permutation(np.repeat(np.arange(n_groups) * 7 - 100, random.integers(1, 10, n_groups)))
    topic = {group: random.random(5) < [0.5, 0.3, 0.1, 0.05, 0.03] for group in set(group_N)}
    y_NL = np.stack([topic[group] & (random.random(5) < 0.8) for group in group_N])
    return torch.from_numpy(y_NL).float(), group_N


@pytest.mark.parametrize("shares", [[0.85, 0.15], [0.6, 0.1, 0.3], [0.2] * 5])
def test_groups_stay_whole_and_labels_and_rows_keep_their_shares(shares: list[float]) -> None:
    y_NL, group_N = grouped()
    part_N = stratified_groups(y_NL, group_N, shares=shares, seed=0)
    assert all(len(set(part_N[group_N == group])) == 1 for group in set(group_N))
    for part, share in enumerate(shares):
        chosen = torch.from_numpy(part_N == part)
        assert int(chosen.sum()) == pytest.approx(share * len(y_NL), abs=3)
        assert (y_NL[chosen].sum(0) - share * y_NL.sum(0)).abs().max() <= 5


def test_it_is_nearer_to_the_shares_than_chance() -> None:
    y_NL, group_N = grouped()
    groups = np.unique(group_N)

    def off(part_N: np.ndarray) -> float:
        held_L = y_NL[torch.from_numpy(part_N == 1)].sum(0) / y_NL.sum(0)
        return float((held_L - 0.2).abs().mean())

    by_chance = [
        off(np.isin(group_N, np.random.default_rng(s).permutation(groups)[:60]) * 1) for s in range(20)
    ]
    ours = [off(stratified_groups(y_NL, group_N, shares=[0.8, 0.2], seed=s)) for s in range(5)]
    assert max(ours) < min(by_chance)


def test_few_large_groups_still_fill_every_part() -> None:
    group_N = np.repeat([3, 1, 2], 10)
    part_N = stratified_groups(torch.ones(30, 1), group_N, shares=[0.68, 0.12, 0.2], seed=0)
    assert sorted(np.bincount(part_N).tolist()) == [10, 10, 10]


def test_one_group_is_in_one_part() -> None:
    part_N = stratified_groups(torch.ones(4, 2), np.zeros(4, dtype=np.int64), shares=[0.9, 0.1], seed=0)
    assert len(set(part_N.tolist())) == 1


def test_the_seed_decides_and_sparse_targets_are_dealt_alike() -> None:
    y_NL, group_N = grouped()
    lengths = y_NL.sum(1).long()
    sparse = LabelRows(y_NL.nonzero()[:, 1].int(), lengths.cumsum(0) - lengths, lengths, 5)
    first = stratified_groups(y_NL, group_N, shares=[0.8, 0.2], seed=1)
    assert stratified_groups(sparse, group_N, shares=[0.8, 0.2], seed=1).tolist() == first.tolist()
    assert stratified_groups(y_NL, group_N, shares=[0.8, 0.2], seed=2).tolist() != first.tolist()


def test_without_labels_only_rows_count() -> None:
    _, group_N = grouped()
    part_N = stratified_groups(torch.zeros(len(group_N), 0), group_N, shares=[0.75, 0.25], seed=0)
    assert np.count_nonzero(part_N) == pytest.approx(len(group_N) / 4, abs=2)
