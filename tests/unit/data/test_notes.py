import torch

from mlc.data.notes import label_notes, listed


def test_empty_rows_and_absent_labels_are_counted() -> None:
    train = torch.tensor([[1.0, 0, 0], [0, 0, 0], [1, 0, 0]])
    test = torch.tensor([[1.0, 1, 1]])
    assert label_notes(["a", "b", "c"], {"train": train, "test": test}) == [
        "1 of 3 train rows have no label.",
        "2 of 3 labels have no positive in train: b, c.",
    ]


def test_long_lists_are_cut() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed(list("abcdefg")) == "a, b, c, d, e and 2 more"
