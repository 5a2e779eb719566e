import torch

from mlc.backbones.flatten import Flatten


def test_a_table_passes_as_it_is() -> None:
    backbone = Flatten(input_shape=(3,))
    x_BD = torch.randn(4, 3)
    assert backbone.feature_sizes == {"pooled": 3}
    assert backbone({"x": x_BD})["pooled"].data_ptr() == x_BD.data_ptr()


def test_a_picture_is_flattened_row_by_row() -> None:
    backbone = Flatten(input_shape=(2, 2, 3))
    x = torch.arange(24.0).reshape(2, 2, 2, 3)
    assert backbone.feature_sizes == {"pooled": 12}
    assert backbone({"x": x})["pooled"].tolist() == [list(range(12)), list(range(12, 24))]


def test_it_has_nothing_to_train() -> None:
    assert not Flatten(input_shape=(3,)).state_dict()
