import pytest
import torch
from torch import Tensor

from mlc.data.stratify import stratified_parts, stratified_split
from mlc.rows import LabelRows


def targets(n_rows: int, *, seed: int = 0) -> Tensor:
    """Correlated labels of very different frequency, and rows without any."""
    generator = torch.Generator().manual_seed(seed)
    frequency_L = torch.tensor([0.3, 0.2, 0.1, 0.05, 0.02])
    topic_N1 = torch.rand(n_rows, 1, generator=generator) * 2
    return (torch.rand(n_rows, 5, generator=generator) < frequency_L * topic_N1).float()


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_every_row_is_in_one_part(fraction: float) -> None:
    rest, held = stratified_split(targets(1000), fraction=fraction, seed=0)
    assert sorted(torch.cat([rest, held]).tolist()) == list(range(1000))
    assert rest.tolist() == sorted(rest.tolist())
    assert held.tolist() == sorted(held.tolist())
    assert len(held) == pytest.approx(1000 * fraction, abs=10)


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_every_label_keeps_its_share(fraction: float) -> None:
    y_NL = targets(2000)
    _, held = stratified_split(y_NL, fraction=fraction, seed=0)
    off_L = y_NL[held].sum(0) - fraction * y_NL.sum(0)
    assert off_L.abs().max() <= 3  # a random split is off by 11 rows (one deviation) for the commonest label


def test_rows_without_labels_keep_their_share() -> None:
    y_NL = targets(2000)
    empty_N = y_NL.sum(1) == 0
    _, held = stratified_split(y_NL, fraction=0.2, seed=0)
    assert empty_N.sum() > 500
    assert empty_N[held].sum().item() == round(0.2 * empty_N.sum().item())


def test_two_of_two_equal_parts_each_get_one_row_of_a_pair() -> None:
    y_NL = torch.eye(6).repeat(2, 1)
    for seed in range(5):
        _, held = stratified_split(y_NL, fraction=0.5, seed=seed)
        assert y_NL[held].sum(0).tolist() == [1] * 6


def test_the_seed_decides() -> None:
    y_NL = targets(300)
    first = stratified_split(y_NL, fraction=0.2, seed=1)
    again = stratified_split(y_NL, fraction=0.2, seed=1)
    other = stratified_split(y_NL, fraction=0.2, seed=2)
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])


def test_unknown_counts_as_not_positive_and_a_level_as_positive() -> None:
    y_NL = targets(300)
    generator = torch.Generator().manual_seed(5)
    unknown_NL = (torch.rand(y_NL.shape, generator=generator) < 0.2) & (y_NL == 0)
    unknown_NL[:3] = True
    y_NL[:3] = 0
    levels_NL = y_NL * torch.randint(1, 4, y_NL.shape, generator=generator)
    expected = stratified_split(y_NL, fraction=0.2, seed=1)
    found = stratified_split(levels_NL.masked_fill(unknown_NL, torch.nan), fraction=0.2, seed=1)
    assert unknown_NL[3:].any()
    assert levels_NL.max() > 1
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


def test_unknown_rows_keep_their_share() -> None:
    y_NL = targets(1000)[:100]
    y_NL[:50] = torch.nan
    _, held = stratified_split(y_NL, fraction=0.2, seed=0)
    assert len(held) == pytest.approx(20, abs=3)
    assert 2 <= (held < 50).sum() <= 18  # dealt at random among the rows without a known positive


def test_no_labels_at_all_is_a_random_split() -> None:
    rest, held = stratified_split(torch.zeros(10, 3), fraction=0.3, seed=0)
    assert len(held) == 3
    assert len(rest) == 7


def one_by_one(y_NL: Tensor, shares: list[float]) -> dict[int, list[int]]:
    """Rows of each part by the paper's algorithm, where nothing is left to chance."""
    wanted_PL = [[share * float(n) for n in y_NL.sum(0)] for share in shares]
    wanted = [share * int((y_NL.sum(1) > 0).sum()) for share in shares]
    left = {row: set(y_NL[row].nonzero().squeeze(1).tolist()) for row in range(len(y_NL)) if y_NL[row].any()}
    parts: dict[int, list[int]] = {part: [] for part in range(len(shares))}
    while left:
        counts = [sum(label in labels for labels in left.values()) for label in range(y_NL.shape[1])]
        label = counts.index(min(count for count in counts if count))
        for row in [row for row in left if label in left[row]]:
            part = max(parts, key=lambda part: (wanted_PL[part][label], wanted[part]))
            parts[part].append(row)
            wanted[part] -= 1
            for other in left.pop(row):
                wanted_PL[part][other] -= 1
    return parts


@pytest.mark.parametrize("shares", [[0.83, 0.17], [0.611, 0.148, 0.241], [0.31, 0.27, 0.23, 0.19]])
def test_every_label_set_goes_where_dealing_row_by_row_puts_it(shares: list[float]) -> None:
    # Different rows of one label set are interchangeable, so that chance cannot change the counts: each label
    # has rows of its own and rows with all commoner labels, and no two labels are equally rare.
    sets = [[0], [0, 1, 2, 3], [1], [1, 3], [2], [2, 3], [3]]
    y_NL = torch.zeros(0, 4)
    for times, labels in zip([7, 4, 13, 9, 29, 11, 61], sets, strict=True):
        row_L = torch.zeros(4)
        row_L[labels] = 1
        y_NL = torch.cat([y_NL, row_L.repeat(times, 1)])
    part_N = torch.from_numpy(stratified_parts(y_NL, shares=shares, seed=3))
    for part, rows in one_by_one(y_NL, shares).items():
        assert y_NL[part_N == part].sum(0).tolist() == y_NL[rows].sum(0).tolist()


def test_label_rows_are_dealt_as_the_dense_targets_are() -> None:
    y_NL = targets(500)
    lengths = y_NL.sum(1).long()
    sparse = LabelRows(y_NL.nonzero()[:, 1].int(), lengths.cumsum(0) - lengths, lengths, 5)
    shares = [0.7, 0.1, 0.2]
    expected = stratified_parts(y_NL, shares=shares, seed=0)
    assert stratified_parts(sparse, shares=shares, seed=0).tolist() == expected.tolist()
    assert set(expected.tolist()) == {0, 1, 2}


def test_folds_have_equal_shares() -> None:
    y_NL = targets(2000)
    part_N = torch.from_numpy(stratified_parts(y_NL, shares=[0.1] * 10, seed=0))
    counts_PL = torch.stack([y_NL[part_N == part].sum(0) for part in range(10)])
    assert (counts_PL - y_NL.sum(0) / 10).abs().max() <= 3
    assert torch.bincount(part_N).tolist() == pytest.approx([200] * 10, abs=8)


def test_parts_that_want_the_same_begin_by_chance() -> None:
    y_NL = torch.ones(1, 1)
    first = [int(stratified_parts(y_NL, shares=[0.25] * 4, seed=seed)[0]) for seed in range(200)]
    assert all(25 <= first.count(part) <= 75 for part in range(4))


def test_no_rows_are_dealt_into_nothing() -> None:
    assert stratified_parts(torch.zeros(0, 2), shares=[0.5, 0.5], seed=0).tolist() == []
