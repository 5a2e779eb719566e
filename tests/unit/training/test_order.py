import pytest
import torch
from torch import Tensor

from mlc.training.order import epoch_order, evaluation_order

LENGTHS_N = torch.randint(1, 200, (1003,), generator=torch.Generator().manual_seed(0))


def padded(batches: list[Tensor]) -> int:
    """How many entries the padded batches have."""
    return sum(len(rows) * int(LENGTHS_N[rows].max()) for rows in batches)


def test_the_order_of_rows_without_lengths_stays_as_it_was() -> None:
    batches = epoch_order(10, 4, seed=3, epoch=5)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(3 * 1_000_003 + 5)).tolist()
    assert [rows.tolist() for rows in batches] == [order[:4], order[4:8], order[8:]]


@pytest.mark.parametrize("lengths_N", [None, LENGTHS_N])
@pytest.mark.parametrize(
    ("n_rows", "batch_size"), [(1, 4), (5, 4), (8, 4), (1001, 4), (1003, 1), (1003, 2000)]
)
def test_an_epoch_has_every_row_once(lengths_N: Tensor | None, n_rows: int, batch_size: int) -> None:
    lengths_N = None if lengths_N is None else lengths_N[:n_rows]
    batches = epoch_order(n_rows, batch_size, seed=1, epoch=2, lengths_N=lengths_N)
    assert sorted(torch.cat(batches).tolist()) == list(range(n_rows))
    plain = epoch_order(n_rows, batch_size, seed=9, epoch=9)
    assert sorted(map(len, batches)) == sorted(map(len, plain))
    assert n_rows == 1 or batch_size == 1 or min(map(len, batches)) > 1


def test_batches_of_similar_length_need_little_padding() -> None:
    plain = epoch_order(1003, 16, seed=0, epoch=0)
    bucketed = epoch_order(1003, 16, seed=0, epoch=0, lengths_N=LENGTHS_N)
    needed = int(LENGTHS_N.sum())
    assert padded(bucketed) < 1.05 * needed < 1.5 * needed < padded(plain)


def test_batches_of_similar_length_are_shuffled_and_others_each_epoch() -> None:
    first, second = (epoch_order(1003, 16, seed=0, epoch=epoch, lengths_N=LENGTHS_N) for epoch in (0, 1))
    longest = [int(LENGTHS_N[rows].max()) for rows in first]
    assert longest != sorted(longest)
    assert {tuple(sorted(rows.tolist())) for rows in first} != {
        tuple(sorted(rows.tolist())) for rows in second
    }
    again = epoch_order(1003, 16, seed=0, epoch=0, lengths_N=LENGTHS_N)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_rows_are_sorted_within_windows_of_fifty_batches() -> None:
    batches = epoch_order(1003, 2, seed=0, epoch=0, lengths_N=LENGTHS_N)
    shuffled = torch.randperm(1003, generator=torch.Generator().manual_seed(0))
    windows = [set(rows.tolist()) for rows in shuffled.split(100)]
    assert all(any(set(rows.tolist()) <= window for window in windows) for rows in batches if len(rows) == 2)


class EvenRows:
    def draw(self, n_rows: int, generator: torch.Generator) -> Tensor:
        return torch.randint(n_rows // 2, (n_rows,), generator=generator) * 2


def test_a_sampler_draws_the_rows() -> None:
    for lengths_N in (None, LENGTHS_N):
        batches = epoch_order(1003, 16, seed=0, epoch=0, lengths_N=lengths_N, sampler=EvenRows())
        rows = torch.cat(batches)
        assert len(rows) == 1003
        assert not (rows % 2).any()
        assert [len(batch) for batch in epoch_order(17, 4, seed=0, epoch=0, sampler=EvenRows())] == [
            4,
            4,
            4,
            5,
        ]


def test_evaluation_begins_with_the_shortest_and_keeps_the_order_of_equals() -> None:
    assert evaluation_order(torch.tensor([3, 1, 2, 1, 3])).tolist() == [1, 3, 2, 0, 4]
