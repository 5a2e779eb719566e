import torch
from torch import nn

from mlc.backbones.sparse_linear import SparseLinear
from mlc.rows import SparseRows


def rows() -> SparseRows:
    """Four rows of six columns: the second is empty, the last has a column twice."""
    lengths = torch.tensor([3, 0, 1, 3])
    ids = torch.tensor([0, 5, 2, 4, 1, 1, 3], dtype=torch.int32)
    return SparseRows(ids, lengths.cumsum(0) - lengths, lengths, torch.randn(7), width=6)


def test_values_and_gradients_equal_those_of_the_dense_layer() -> None:
    torch.manual_seed(0)
    sparse, dense, x = SparseLinear(6, 3), nn.Linear(6, 3), rows()
    with torch.no_grad():
        dense.weight.copy_(sparse.weight_DW.mT)
        dense.bias.copy_(sparse.bias_W)
    found, expected, toward = sparse(x), dense(x.dense()), torch.randn(4, 3)
    torch.testing.assert_close(found, expected)
    (found * toward).sum().backward()
    (expected * toward).sum().backward()
    assert dense.weight.grad is not None
    torch.testing.assert_close(sparse.weight_DW.grad, dense.weight.grad.mT)
    torch.testing.assert_close(sparse.bias_W.grad, dense.bias.grad)


def test_entries_without_values_count_as_one() -> None:
    x, layer = rows(), SparseLinear(6, 3)
    ones = SparseRows(x.ids_M, x.start_N, x.length_N, None, 6)
    torch.testing.assert_close(layer(ones), ones.dense() @ layer.weight_DW + layer.bias_W)


def test_many_columns_start_as_widely_as_in_a_dense_layer() -> None:
    torch.manual_seed(0)
    sparse, dense = SparseLinear(4000, 100), nn.Linear(4000, 100)
    for ours, theirs in ((sparse.weight_DW, dense.weight), (sparse.bias_W, dense.bias)):
        assert abs(ours.std() / theirs.std() - 1) < 0.2
        assert ours.abs().max() <= 4000**-0.5


def test_few_columns_start_no_wider_than_a_hundredth() -> None:
    torch.manual_seed(0)
    layer = SparseLinear(400, 300)  # nn.Linear would start with .029
    for parameter in layer.parameters():
        assert abs(parameter.std() / 0.01 - 1) < 0.1


def test_a_batch_of_a_split_equals_its_rows() -> None:
    layer, split = SparseLinear(6, 3), rows()
    chosen = torch.tensor([3, 1, 0])
    torch.testing.assert_close(layer(split[chosen]), layer(split)[chosen])
