import pytest
import torch
from torch import Tensor

from mlc.data.stratify import stratified_split


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
