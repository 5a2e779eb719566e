import numpy as np
import torch

from mlc.data.examples import OPEN, PART_NAMES, TEST, TRAIN, VALID, Codes, Examples
from mlc.data.picture_rows import PictureRows
from mlc.data.schema import Attribute, Schema
from mlc.rows import LabelRows, SparseRows

ROWS = torch.tensor([3, 0])


def everything() -> Examples:
    """Four rows in which the number of the row stands everywhere."""
    number_N = torch.arange(4)
    sparse = SparseRows(number_N, number_N, torch.ones(4).long(), number_N.float() + 1, 4)
    return Examples(
        label_names=("a", "b"),
        y_NL=torch.stack([number_N % 2, number_N // 2], 1).float(),
        codes=Codes(Schema((Attribute("n"),)), np.arange(4.0)[:, None]),
        text=[f"text {n}" for n in range(4)],
        pictures=PictureRows.every(number_N.to(torch.uint8)[:, None, None, None]),
        sparse=sparse,
        weight_N=np.arange(4.0),
        weight_name="mass",
        part_N=np.array([TRAIN, VALID, TEST, OPEN], dtype=np.int8),
        group_N=np.arange(4),
        time_N=np.arange(4.0),
        auxiliary_names=("c",),
        auxiliary_NA=number_N[:, None].float(),
        notes=("said",),
    )


def test_rows_are_taken_from_everything() -> None:
    found = everything().rows(ROWS)
    assert len(found) == 2
    assert found.y_NL[:].tolist() == [[1, 1], [0, 0]]
    assert found.codes is not None
    assert found.codes.codes_NA.tolist() == [[3], [0]]
    assert found.text == ["text 3", "text 0"]
    assert found.pictures is not None
    assert found.pictures[torch.arange(2)].flatten().mul(255).round().tolist() == [3, 0]
    assert found.sparse is not None
    assert found.sparse.dense().tolist() == [[0, 0, 0, 4], [1, 0, 0, 0]]
    assert found.weight_N is not None
    assert found.weight_N.tolist() == [3, 0]
    assert found.auxiliary_NA is not None
    assert found.auxiliary_NA.tolist() == [[3], [0]]


def test_what_only_splitting_needs_is_dropped_and_names_stay() -> None:
    given, found = everything(), everything().rows(ROWS)
    assert found.part_N is found.group_N is found.time_N is None
    for name in ("label_names", "weight_name", "auxiliary_names", "notes"):
        assert getattr(found, name) == getattr(given, name) != ()


def test_what_is_not_there_stays_away() -> None:
    given = Examples(label_names=("a",), y_NL=torch.zeros(4, 1), text=["", "", "", "x"])
    found = given.rows(ROWS)
    assert found.text == ["x", ""]
    assert found.codes is found.pictures is found.sparse is found.weight_N is found.auxiliary_NA is None


def test_sparse_targets_are_views() -> None:
    ids_M = torch.tensor([1, 0])
    targets = LabelRows(ids_M, torch.tensor([0, 0, 1, 2]), torch.tensor([0, 1, 1, 0]), 2)
    found = Examples(label_names=("a", "b"), y_NL=targets, text=["", "", "", ""]).rows(
        torch.tensor([2, 1, 0])
    )
    assert isinstance(found.y_NL, LabelRows)
    assert found.y_NL.ids_M is ids_M
    assert found.y_NL[:].tolist() == [[1, 0], [0, 1], [0, 0]]


def test_parts_are_numbered_as_they_are_named() -> None:
    assert [PART_NAMES[part] for part in (TRAIN, VALID, TEST)] == ["train", "valid", "test"]
    assert OPEN not in (TRAIN, VALID, TEST)
