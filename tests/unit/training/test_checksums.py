import hashlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from mlc.data.dataset import Dataset, Input, Split
from mlc.data.picture_rows import PictureRows
from mlc.inputs import InputSpec
from mlc.rows import LabelRows, SparseRows, TokenRows
from mlc.training.checksums import digest, digest_tensors

ROWS = 7
GENERATOR = torch.Generator().manual_seed(3)
LENGTH_N = torch.tensor([2, 0, 3, 1, 1, 4, 2])
START_N = LENGTH_N.cumsum(0) - LENGTH_N
IDS_M = torch.randint(0, 9, (int(LENGTH_N.sum()),), generator=GENERATOR)
VALUES_M = torch.randn(len(IDS_M), generator=GENERATOR)
PIXELS = torch.randint(0, 256, (ROWS, 1, 4, 4), generator=GENERATOR, dtype=torch.uint8)
WORDS = InputSpec("tokens", (5,), vocabulary=9)

KINDS: dict[str, Input] = {
    "dense": torch.randn(ROWS, 3, generator=GENERATOR),
    "sparse": SparseRows(IDS_M, START_N, LENGTH_N, VALUES_M, 9),
    "ones": SparseRows(IDS_M, START_N, LENGTH_N, None, 9),
    "tokens": TokenRows(IDS_M, START_N, LENGTH_N, WORDS),
    "pictures": PictureRows.every(PIXELS).standardised(mean=torch.tensor([0.5]), scale=torch.tensor([2.0])),
}
# Another row, a value or an option: each must show.
CHANGES: dict[str, Callable[[], Input]] = {
    "dense": lambda: KINDS["dense"] + torch.tensor([0.0, 0.0, 1e-6]),
    "sparse": lambda: replace(KINDS["sparse"], values_M=VALUES_M.roll(1)),
    "ones": lambda: replace(KINDS["ones"], width=10),
    "tokens": lambda: replace(KINDS["tokens"], length_N=LENGTH_N - (LENGTH_N == 4).long()),
    "pictures": lambda: PictureRows.every(PIXELS.flip(0)).standardised(
        mean=torch.tensor([0.5]), scale=torch.tensor([2.0])
    ),
}


def dataset(x: Input = KINDS["dense"], **changes: object) -> Dataset:
    y_NL = torch.tensor([[0.0, 1.0], [1.0, torch.nan]]).repeat(4, 1)[:ROWS]
    split = Split({"x": x}, y_NL, weight_N=torch.linspace(0, 2, ROWS))
    made = Dataset("d", ("a", "b"), split, split, split, {"mean": torch.ones(2)})
    return replace(made, **changes)


def train(x: Input) -> str:
    return digest(dataset(x))["train"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_change_shows(kind: str) -> None:
    assert train(CHANGES[kind]()) != train(KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_rows_in_another_order_are_other_rows(kind: str) -> None:
    order = torch.arange(ROWS).flip(0)
    rows = KINDS[kind]
    turned = rows[order] if isinstance(rows, Tensor) else rows.view(order)
    assert train(turned) != train(rows)


@pytest.mark.parametrize("kind", KINDS)
def test_how_rows_lie_in_memory_does_not_matter(kind: str) -> None:
    """The same rows out of more of them, in another order, with memory of their own or not."""
    rows = KINDS[kind]
    there = torch.tensor([4, 2, 6, 0, 1, 3, 5])  # where each row is to be found among the shuffled ones
    back = torch.argsort(there)
    if isinstance(rows, Tensor):
        wide = torch.cat([rows, torch.ones(ROWS, 2)], 1)
        assert train(wide[:, :3]) == train(rows)
        assert train(rows.t().contiguous().t()) == train(rows)
        return
    if isinstance(rows, PictureRows):
        shuffled = replace(rows, pixels_MCHW=PIXELS[back], rows_N=there)
        assert train(shuffled) == train(rows)
        return
    shuffled = rows.view(back).own().view(there)
    assert not torch.equal(shuffled.start_N, rows.start_N)
    assert train(shuffled) == train(rows)
    assert train(shuffled.own()) == train(rows)
    assert train(replace(rows, ids_M=IDS_M.int(), start_N=START_N.int(), length_N=LENGTH_N.int())) == train(
        rows
    )


def test_each_part_has_a_checksum_of_its_own() -> None:
    whole = dataset()
    before = digest(whole)
    assert list(before) == ["train", "valid", "test", "labels", "preparation"]
    other = replace(whole.train, y_NL=torch.zeros(ROWS, 2))
    changes = {
        "train": {"train": other},
        "valid": {"valid": replace(whole.valid, weight_N=None)},
        "test": {"test": replace(whole.test, auxiliary_NA=torch.zeros(ROWS, 1))},
        "labels": {"label_names": ("b", "a")},
        "preparation": {"preparation": {"mean": torch.zeros(2)}},
    }
    for part, change in changes.items():
        after = digest(replace(whole, **change))
        assert [name for name in before if before[name] != after[name]] == [part]


def test_inputs_are_told_apart_by_name_and_order() -> None:
    a, b = torch.zeros(ROWS, 1), torch.ones(ROWS, 1)
    found = {
        digest(replace(dataset(), train=replace(dataset().train, inputs=inputs)))["train"]
        for inputs in ({"x": a, "z": b}, {"z": b, "x": a}, {"x": b, "z": a}, {"x": a, "y": b})
    }
    assert len(found) == 4


def test_label_sets_count_labels() -> None:
    sets = LabelRows(IDS_M, START_N, LENGTH_N, 9)
    found = {
        digest(replace(dataset(), train=Split({"x": torch.zeros(ROWS, 1)}, y_NL)))["train"]
        for y_NL in (sets, replace(sets, n_labels=10), replace(sets, ids_M=IDS_M.roll(1)), sets[:])
    }
    assert len(found) == 4


def test_rows_of_a_kind_of_their_own_are_read_as_batches() -> None:
    class Doubled:
        """Rows as the protocol has them and no more."""

        spec = InputSpec("numbers", (2,))

        def __init__(self, factor: float) -> None:
            self.factor = factor

        def __len__(self) -> int:
            return ROWS

        def __getitem__(self, rows: Tensor) -> Tensor:
            return self.factor * rows[:, None].expand(-1, 2).float()

    assert train(Doubled(2)) == train(Doubled(2))  # type: ignore[arg-type]
    assert train(Doubled(2)) != train(Doubled(3))  # type: ignore[arg-type]


def test_tensors_by_hand() -> None:
    """What is hashed is written down here: a checksum that changes makes every stored one useless."""
    sha = hashlib.sha256()
    sha.update(b"'a' torch.float32 (1, 2)" + np.array([1.5, -2], dtype="<f4").tobytes())
    sha.update(b"'b' torch.int32 (2,)" + np.array([7, 8], dtype="<i4").tobytes())
    sha.update(b"'c' torch.int64 (1,)" + np.array([1 << 40], dtype="<i8").tobytes())
    sha.update(b"'d' torch.bool ()" + b"\1")
    tensors = {
        "c": torch.tensor([1 << 40]),
        "a": torch.tensor([[1.5, -2]]),
        "b": torch.tensor([7, 8]),
        "d": torch.tensor(True),
    }
    assert digest_tensors(tensors) == sha.hexdigest()[:32]
    assert digest_tensors({}) == hashlib.sha256().hexdigest()[:32]


def test_the_checksums_of_a_split_stay() -> None:
    """Taken once: they are compared across processes, versions and machines."""
    words = TokenRows(torch.arange(1, 7), torch.tensor([0, 1, 3]), torch.tensor([1, 2, 3]), WORDS)
    split = Split({"x": torch.arange(6.0).view(3, 2), "words": words}, torch.eye(3))
    assert digest(replace(dataset(), train=split))["train"] == "46a6c18858fb9849922524a16788f2c3"


def test_chunks_leave_no_row_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlc.training.checksums._CHUNK_ROWS", 2)
    monkeypatch.setattr("mlc.training.checksums._CHUNK_BYTES", 30)
    for kind, rows in KINDS.items():
        last = torch.arange(ROWS - 1)
        shorter = rows[last] if isinstance(rows, Tensor) else rows.view(last)
        doubled = torch.cat([last, last[-1:]])
        repeated = rows[doubled] if isinstance(rows, Tensor) else rows.view(doubled)
        assert len({train(rows), train(shorter), train(repeated), train(CHANGES[kind]())}) == 4
