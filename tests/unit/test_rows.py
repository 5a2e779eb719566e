from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils import _pytree

from mlc.inputs import InputSpec
from mlc.rows import LabelRows, RaggedRows, Rows, SparseRows, TokenRows, dense_chunks, take_targets

# Rows of lengths 2, 0, 3, 1, 0; the flat tensors also hold entries that no row has, and no order of rows.
IDS = [9, 9, 4, 0, 7, 9, 1, 6, 2, 9]
STARTS, LENGTHS = [6, 0, 2, 8, 10], [2, 0, 3, 1, 0]
LISTS = [[1, 6], [], [4, 0, 7], [2], []]
CHOICES = [[0, 1, 2, 3, 4], [4, 1], [2, 0, 2], [3], []]
SPEC = InputSpec("tokens", (3,), vocabulary=10, padding=5)


def pieces(dtype: torch.dtype = torch.int64) -> tuple[Tensor, Tensor, Tensor]:
    return (
        torch.tensor(IDS, dtype=torch.int32),
        torch.tensor(STARTS, dtype=dtype),
        torch.tensor(LENGTHS, dtype=dtype),
    )


def value(column: int) -> float:
    return column / 2 - 1


def sparse(dtype: torch.dtype = torch.int64) -> SparseRows:
    return SparseRows(*pieces(dtype), torch.tensor([value(i) for i in IDS]), width=10)


def dense_by_hand(choice: list[int]) -> list[list[float]]:
    return [[value(i) if i in LISTS[row] else 0.0 for i in range(10)] for row in choice]


def int64(choice: list[int]) -> Tensor:
    return torch.tensor(choice, dtype=torch.int64)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
@pytest.mark.parametrize("choice", CHOICES)
def test_a_batch_of_sparse_rows(choice: list[int], dtype: torch.dtype) -> None:
    batch = sparse(dtype)[int64(choice)]
    assert isinstance(batch, SparseRows)
    assert len(batch) == len(choice)
    assert batch.ids_M.tolist() == [i for row in choice for i in LISTS[row]]
    assert batch.numbers().tolist() == [value(i) for row in choice for i in LISTS[row]]
    assert batch.length_N.tolist() == [len(LISTS[row]) for row in choice]
    assert batch.start_N.tolist() == [sum(len(LISTS[row]) for row in choice[:n]) for n in range(len(choice))]
    assert batch.dense().tolist() == dense_by_hand(choice)
    assert batch.spec == InputSpec("sparse", (10,))


@pytest.mark.parametrize("choice", CHOICES)
def test_a_batch_is_what_embedding_bag_reads(choice: list[int]) -> None:
    weight = torch.randn(10, 4, generator=torch.Generator().manual_seed(0))
    batch = sparse()[int64(choice)]
    summed = F.embedding_bag(
        batch.ids_M.long(), weight, batch.start_N, mode="sum", per_sample_weights=batch.numbers()
    )
    torch.testing.assert_close(summed, torch.tensor(dense_by_hand(choice)).reshape(-1, 10) @ weight)


@pytest.mark.parametrize("width", [10, 100])  # more than a tenth of the numbers is there, and less
@pytest.mark.parametrize("choice", CHOICES)
def test_a_batch_multiplies_a_matrix(choice: list[int], width: int) -> None:
    weight = torch.randn(width, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    batch = replace(sparse(torch.int32)[int64(choice)], width=width)
    expected = torch.tensor(dense_by_hand(choice), dtype=torch.float64).reshape(-1, 10) @ weight[:10]
    torch.testing.assert_close(batch @ weight, expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(batch @ weight.float(), expected.float())


def test_without_values_all_are_1_and_entries_that_stand_twice_are_added() -> None:
    rows = SparseRows(torch.tensor([0, 2, 2]), torch.tensor([0]), torch.tensor([3]), None, width=4)
    assert rows[int64([0])].values_M is None
    assert rows.dense().tolist() == [[1, 0, 2, 0]]


@pytest.mark.parametrize("choice", CHOICES)
def test_a_batch_of_labels(choice: list[int]) -> None:
    labels = LabelRows(*pieces(), n_labels=10)
    expected = [[float(i in LISTS[row]) for i in range(10)] for row in choice]
    y_BL = labels[int64(choice)]
    assert y_BL.dtype == torch.float32
    assert y_BL.shape == (len(choice), 10)
    assert y_BL.tolist() == expected


@pytest.mark.parametrize("some", [slice(None), slice(1, 4), slice(3, 99), slice(2, 2), slice(-2, None)])
def test_a_slice_of_labels(some: slice) -> None:
    labels = LabelRows(*pieces(), n_labels=10)
    assert labels.shape == (5, 10)
    assert torch.equal(labels[some], labels[torch.arange(5)[some]])


def test_a_batch_of_tokens_is_padded_at_the_end() -> None:
    tokens = TokenRows(*pieces(), SPEC)
    batch = tokens[int64([2, 1, 0])]
    assert batch.dtype == torch.int64
    assert batch.tolist() == [[4, 0, 7], [5, 5, 5], [1, 6, 5]]
    assert tokens.spec == SPEC


def every_kind() -> list[RaggedRows]:
    return [sparse(), LabelRows(*pieces(), n_labels=10), TokenRows(*pieces(), SPEC)]


def as_tensor(rows: RaggedRows, choice: list[int]) -> Tensor:
    batch = rows[int64(choice)]
    return batch.dense() if isinstance(batch, SparseRows) else batch


@pytest.mark.parametrize("rows", every_kind(), ids=lambda rows: type(rows).__name__)
def test_views_copy_nothing_and_can_be_viewed_again(rows: RaggedRows) -> None:
    view = rows.view(int64([4, 2, 0, 3])).view(int64([1, 2]))
    assert len(view) == 2
    assert view.ids_M is rows.ids_M
    assert torch.equal(as_tensor(view, [1, 0, 1]), as_tensor(rows, [0, 2, 0]))
    assert len(rows.view(int64([]))) == 0


@pytest.mark.parametrize("rows", every_kind(), ids=lambda rows: type(rows).__name__)
def test_rows_of_their_own_hold_their_entries_only(rows: RaggedRows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlc.rows._ROWS_AT_A_TIME", 2)
    own = rows.view(int64([3, 4, 2])).own()
    assert own.ids_M.tolist() == [2, 4, 0, 7]
    assert torch.equal(as_tensor(own, [0, 1, 2]), as_tensor(rows, [3, 4, 2]))


@pytest.mark.parametrize("rows", every_kind(), ids=lambda rows: type(rows).__name__)
def test_to_another_device(rows: RaggedRows) -> None:
    assert rows.to("cpu") is rows
    moved = rows.view(int64([3, 2])).to("meta")
    assert type(moved) is type(rows)
    for field in fields(moved):
        assert not isinstance(found := getattr(moved, field.name), Tensor) or found.device.type == "meta"
    assert len(moved.ids_M) == 4, "only the entries of these rows move"


def test_what_an_input_is() -> None:
    assert isinstance(sparse(), Rows)
    assert isinstance(TokenRows(*pieces(), SPEC), Rows)


@pytest.mark.parametrize("rows", [sparse(), SparseRows(*pieces(), None, width=10)])
def test_sparse_rows_are_a_tree_of_tensors(rows: SparseRows) -> None:
    leaves, tree = _pytree.tree_flatten({"x": rows})
    assert all(leaf is None or isinstance(leaf, Tensor) for leaf in leaves)
    again = _pytree.tree_unflatten(leaves, tree)["x"]
    assert isinstance(again, SparseRows)
    assert again.width == 10
    assert torch.equal(again.dense(), rows.dense())


def test_targets_of_some_rows() -> None:
    labels = LabelRows(*pieces(), n_labels=10)
    chosen = take_targets(labels, int64([2, 0]))
    assert isinstance(chosen, LabelRows)
    assert torch.equal(chosen[:], labels[int64([2, 0])])
    assert torch.equal(take_targets(labels[:], int64([2, 0])), chosen[:])


@pytest.mark.parametrize("numbers", [1, 20, 29, 1000])
def test_chunks_of_targets_are_all_of_them(numbers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlc.rows._CHUNK_NUMBERS", numbers)
    labels = LabelRows(*pieces(), n_labels=10)
    for targets in (labels, labels[:]):
        starts, chunks = zip(*dense_chunks(targets), strict=True)
        assert torch.equal(torch.cat(chunks), labels[:])
        assert list(starts) == [sum(map(len, chunks[:i])) for i in range(len(chunks))]
        assert max(map(len, chunks)) == min(5, max(1, numbers // 10))


def test_no_targets_are_one_empty_chunk() -> None:
    labels = LabelRows(*pieces(), n_labels=10).view(int64([]))
    assert [(start, tuple(y.shape)) for start, y in dense_chunks(labels)] == [(0, (0, 10))]
    assert [(start, tuple(y.shape)) for start, y in dense_chunks(torch.zeros(0, 10))] == [(0, (0, 10))]
