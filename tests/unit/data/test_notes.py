import pytest
import torch

from mlc.data.notes import label_notes, listed
from mlc.rows import LabelRows

NAN = float("nan")


def test_empty_rows_and_absent_labels_are_counted() -> None:
    train = torch.tensor([[1.0, 0, 0], [0, 0, 0], [1, 0, 0]])
    test = torch.tensor([[1.0, 1, 1]])
    assert label_notes(["a", "b", "c"], {"train": train, "test": test}) == [
        "1 of 3 train rows has no label.",
        "2 of 3 labels have no positive in train: b, c.",
    ]


def test_unknown_targets_are_counted_and_are_neither_empty_rows_nor_positives() -> None:
    valid = torch.tensor([[NAN, 0, 1], [NAN, NAN, NAN], [NAN, 0, 0], [NAN, 0, 0], [0, 0, 0]])
    assert label_notes(["a", "b", "c"], {"valid": valid}) == [
        "6 of 15 valid label entries are unknown, and left out of losses and metrics.",
        "1 of 5 valid rows has no known label; such rows stay, but count for nothing.",
        "1 of 5 valid rows has no label.",
        "2 of 3 labels have no positive in valid: a, b.",
    ]


def test_chunks_of_rows_and_sparse_targets_are_counted_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    sparse = LabelRows(
        torch.tensor([0, 0, 3]), torch.tensor([0, 1, 1, 2]), torch.tensor([1, 0, 1, 1]), n_labels=4
    )
    names = ["a", "b", "c", "d"]
    expected = ["1 of 4 train rows has no label.", "2 of 4 labels have no positive in train: b, c."]
    unknown = torch.full((3, 4), NAN)
    for numbers in (1000, 4):
        monkeypatch.setattr("mlc.rows._CHUNK_NUMBERS", numbers)
        assert label_notes(names, {"train": sparse}) == expected
        assert label_notes(names, {"train": sparse[:]}) == expected
        assert label_notes(names, {"train": unknown})[:2] == [
            "12 of 12 train label entries are unknown, and left out of losses and metrics.",
            "3 of 3 train rows have no known label; such rows stay, but count for nothing.",
        ]


def test_long_lists_are_cut() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed(list("abcdefg")) == "a, b, c, d, e and 2 more"
