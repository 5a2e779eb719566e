from collections.abc import Iterator

import pytest
import torch

from mlc.batch import Batch
from mlc.data.dataset import Split
from mlc.inputs import InputSpec
from mlc.rows import LabelRows, SparseRows, TokenRows
from mlc.training.feeding import batches, n_bytes, place
from tests.unit.training import tiny


def everything() -> Split:
    """Ten rows with an input of every kind, weights and auxiliary targets."""
    length_N, start_N = torch.full((10,), 2), torch.arange(10) * 2
    ids_M = torch.arange(20) % 7
    spec = InputSpec("tokens", (), vocabulary=9, padding=0)
    return Split(
        inputs={
            "x": SparseRows(ids_M, start_N, length_N, torch.arange(20.0), 7),
            "numbers": torch.arange(30.0).view(10, 3),
            "text": TokenRows(ids_M + 1, start_N, length_N, spec),
        },
        y_NL=LabelRows(ids_M, start_N, length_N, 7),
        weight_N=torch.arange(10.0),
        auxiliary_NA=torch.arange(20.0).view(10, 2),
    )


def flat(batch: Batch) -> list[torch.Tensor]:
    x = batch.inputs["x"]
    assert isinstance(x, SparseRows)
    others = [values for values in batch.inputs.values() if isinstance(values, torch.Tensor)]
    assert batch.weight_B is not None
    assert batch.auxiliary_BA is not None
    return [x.dense(), *others, batch.y_BL, batch.weight_B, batch.auxiliary_BA]


ROWS = [torch.tensor(rows) for rows in ([3, 1], [0], [9, 8, 7], [2, 2], [5])]


def test_batches_that_come_from_elsewhere_are_the_same_in_the_same_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    split = everything()
    expected = [flat(split.select(rows_B)) for rows_B in ROWS]
    # No second device here: the way of the copies is taken all the same.
    monkeypatch.setattr(Split, "device", property(lambda _: torch.device("meta")))
    found = list(batches(split, ROWS, "cpu"))
    assert [batch.all_known for batch in found] == [True] * 5
    for batch, tensors in zip(found, expected, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(flat(batch), tensors, strict=True))


def test_batches_that_are_there_are_selections() -> None:
    split = everything()
    for batch, rows_B in zip(batches(split, ROWS, "cpu"), ROWS, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(flat(batch), flat(split.select(rows_B)), strict=True))


def test_a_fault_in_the_thread_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Split, "device", property(lambda _: torch.device("meta")))
    found = batches(everything(), [torch.tensor([0]), torch.tensor([99])], "cpu")
    next(found)
    with pytest.raises(IndexError):
        next(found)


def test_no_more_than_two_batches_are_cut_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def rows() -> Iterator[torch.Tensor]:
        for i in range(10):
            asked.append(i)
            yield torch.tensor([i])

    monkeypatch.setattr(Split, "device", property(lambda _: torch.device("meta")))
    found = batches(everything(), rows(), "cpu")
    next(found)
    assert len(asked) == 3


def test_bytes_are_those_of_all_tensors() -> None:
    split = everything()
    expected = (
        (20 * 8 + 2 * 10 * 8 + 20 * 4) + 30 * 4 + (20 * 8 + 2 * 10 * 8) + (20 * 8 + 2 * 10 * 8) + 10 * 4 + 80
    )
    assert n_bytes(split) == expected


@pytest.mark.parametrize(("free", "moves"), [(10_000, True), (1_000, False)])
def test_what_fits_moves_to_the_device(free: int, moves: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, free))
    moved: list[str] = []

    def to(self: Split, device: str) -> Split:
        moved.append(device)
        return self

    monkeypatch.setattr(Split, "to", to)
    placed = place(tiny.split(100), "cuda:0")
    assert moved == (["cuda:0"] if moves else [])
    assert ("index selections" in placed.why) == moves
    assert ("thread" in placed.why) != moves


def test_on_the_processor_nothing_moves() -> None:
    split = tiny.split(5)
    assert place(split, "cpu").split is split
    assert place(split, "cpu").why.startswith("the 0.00014 MB")
