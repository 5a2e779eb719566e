import pytest
import torch

from mlc.rows import LabelRows
from mlc.training.order import epoch_order
from mlc.training.sampling import ClassAwareSampler

NAN = float("nan")
# Label 0 has four rows, label 1 two, label 2 none, label 3 one; one row has no label and one no known label.
Y_NL = torch.tensor(
    [[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, NAN, 2], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [NAN] * 4]
)


def test_every_label_has_the_same_share_and_in_it_every_row() -> None:
    drawn = ClassAwareSampler.of(Y_NL).draw(200_000, torch.Generator().manual_seed(0))
    found = (torch.bincount(drawn, minlength=7) / len(drawn)).tolist()
    quarter, half, whole = (
        1 / 16,
        1 / 8,
        1 / 4,
    )  # of the share 1/4 that three labels and the empty set have each
    expected = [quarter, quarter + half, quarter + whole, quarter, half, half, half]
    assert found == pytest.approx(expected, abs=0.004)


def test_sparse_targets_are_drawn_alike() -> None:
    sparse = LabelRows(
        torch.tensor([0, 0, 1, 1, 4]), torch.tensor([0, 1, 3, 4]), torch.tensor([1, 2, 1, 1]), 5
    )
    dense_NL = sparse[torch.arange(4)]
    draws = [ClassAwareSampler.of(y).draw(50, torch.Generator().manual_seed(1)) for y in (sparse, dense_NL)]
    assert torch.equal(*draws)


def test_an_epoch_has_as_many_rows_as_without_and_is_a_function_of_seed_and_epoch() -> None:
    sampler = ClassAwareSampler.of(Y_NL)
    batches = [
        epoch_order(7, 3, seed=seed, epoch=epoch, sampler=sampler) for seed, epoch in ((0, 0), (0, 0), (0, 1))
    ]
    assert [len(rows) for rows in batches[0]] == [3, 4]
    rows = [torch.cat(order).tolist() for order in batches]
    assert rows[0] == rows[1] != rows[2]


def test_one_row_is_drawn_again_and_again() -> None:
    sampler = ClassAwareSampler.of(torch.tensor([[0.0, 1.0]]))
    assert sampler.draw(3, torch.Generator().manual_seed(0)).tolist() == [0, 0, 0]
