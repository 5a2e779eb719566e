import pytest
import torch
from torch import nn

from mlc.training.label_features import DenseFeatures
from mlc.training.label_layer import LabelBlocks, block_size


@pytest.mark.parametrize("size", [1, 3, 4, 11, 20])
def test_computes_what_the_linear_layer_computes(size):
    linear = nn.Linear(5, 11)
    layer = LabelBlocks(linear, size=size)
    x_BD = torch.randn(3, 5)
    torch.testing.assert_close(layer(x_BD), linear(x_BD))
    parts = [layer.logits(DenseFeatures(x_BD, torch.float32), block) for block in range(len(layer))]
    torch.testing.assert_close(torch.cat(parts, 1), linear(x_BD))


def test_both_layers_read_what_the_other_wrote():
    linear, other = nn.Linear(5, 11), nn.Linear(5, 11)
    layer = LabelBlocks(other, size=4)
    whole = nn.Sequential(layer)
    whole.load_state_dict(nn.Sequential(linear).state_dict())
    state = whole.state_dict()
    assert state.keys() == {"0.weight", "0.bias"}
    assert torch.equal(state["0.weight"], linear.weight)
    assert torch.equal(state["0.bias"], linear.bias)
    assert not layer.weight_KDC[2, :, 3:].any()  # columns that no label has


def test_a_state_of_another_size_is_refused():
    layer = LabelBlocks(nn.Linear(5, 11), size=4)
    with pytest.raises(RuntimeError, match="weight"):
        layer.load_state_dict(nn.Linear(5, 12).state_dict())


@pytest.mark.parametrize(
    ("features", "labels", "most"),
    [(5_000, 100_000, 300), (512, 1_000_000, 2_100), (3, 7, 7), (10**7, 500, 64)],
)
def test_blocks_are_small_and_nearly_full(features, labels, most):
    size = block_size(features, labels)
    assert 1 <= size <= most
    blocks = -(-labels // size)
    assert blocks * size - labels < max(16 * blocks, 1)


def test_every_process_gets_a_block_of_its_own_and_one_process_the_same_as_ever():
    assert (block_size(64, 500), block_size(64, 500, processes=2)) == (500, 256)
    assert block_size(512, 1_000_000) == block_size(512, 1_000_000, processes=8)
    for labels in range(1, 70):
        assert block_size(64, labels) == labels
        for processes in range(1, labels + 1):
            assert -(-labels // block_size(64, labels, processes=processes)) >= processes, (labels, processes)
    assert block_size(64, 3, processes=4) == 1, "which the check of shards refuses"
