import torch

from mlc.training.label_choice import frequent_and_worst, most_frequent


def test_few_labels_are_all_shown_most_frequent_first() -> None:
    support_L = torch.tensor([3, 9, 3, 20])
    for choice in (most_frequent(support_L, 4), frequent_and_worst(support_L, torch.zeros(4))):
        assert choice.indices == [3, 1, 0, 2]
        assert choice.sentence == ""


def test_most_frequent_says_what_it_left_out() -> None:
    choice = most_frequent(torch.arange(101), 100)
    assert choice.indices == list(range(100, 0, -1))
    assert choice.sentence == "the 100 most frequent of 101 labels"


def test_frequent_and_worst_are_twenty_each_and_disjoint() -> None:
    support_L = torch.arange(100, 0, -1)
    f1_L = torch.ones(100)
    f1_L[:5] = 0  # frequent and bad: shown once
    f1_L[60:85] = torch.linspace(0.4, 0.1, 25)
    choice = frequent_and_worst(support_L, f1_L)
    assert choice.indices == [*range(20), *range(65, 85)]
    assert choice.sentence == "the 20 most frequent of 100 labels, and of the rest the 20 worst by F1"


def test_41_labels_are_too_many_for_all() -> None:
    assert len(frequent_and_worst(torch.ones(40), torch.ones(40)).indices) == 40
    assert len(frequent_and_worst(torch.ones(41), torch.ones(41)).indices) == 40
    assert frequent_and_worst(torch.ones(41), torch.ones(41)).sentence != ""
