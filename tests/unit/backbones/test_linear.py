import torch

from mlc.backbones.linear import Linear


def test_a_table_passes_as_it_is() -> None:
    backbone = Linear(input_shape=(3,))
    x_BD = torch.randn(4, 3)
    assert backbone.out_features == 3
    assert torch.equal(backbone({"x": x_BD}), x_BD)


def test_a_picture_is_flattened_row_by_row() -> None:
    backbone = Linear(input_shape=(2, 2, 3))
    x = torch.arange(24.0).reshape(2, 2, 2, 3)
    assert backbone.out_features == 12
    assert backbone({"x": x}).tolist() == [list(range(12)), list(range(12, 24))]


def test_it_has_nothing_to_train() -> None:
    assert not Linear(input_shape=(3,)).state_dict()
