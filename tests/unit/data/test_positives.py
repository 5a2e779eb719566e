import torch

from mlc.data.positives import positives
from mlc.rows import LabelRows


def test_pairs_of_a_tensor() -> None:
    y_NL = torch.tensor([[0, 1, 2], [torch.nan, 0, 0], [1, 0, torch.nan]])
    rows, labels = positives(y_NL)
    assert rows.tolist() == [0, 0, 2]
    assert labels.tolist() == [1, 2, 0]


def test_pairs_of_a_view_of_label_rows() -> None:
    whole = LabelRows(torch.tensor([5, 1, 2, 4]), torch.tensor([0, 1, 1, 3]), torch.tensor([1, 0, 2, 1]), 6)
    rows, labels = positives(whole.view(torch.tensor([3, 1, 2])))
    assert rows.tolist() == [0, 2, 2]
    assert labels.tolist() == [4, 1, 2]
