import pytest
import torch

from mlc.backbones.flatten import Flatten
from mlc.errors import UserError
from mlc.inputs import InputSpec
from mlc.rows import SparseRows
from tests.contract.grid import numbers


def test_a_table_passes_as_it_is() -> None:
    backbone = Flatten(inputs=numbers(3))
    x_BD = torch.randn(4, 3)
    assert backbone.feature_sizes == {"pooled": 3}
    assert backbone({"x": x_BD})["pooled"].data_ptr() == x_BD.data_ptr()


def test_a_picture_is_flattened_row_by_row() -> None:
    backbone = Flatten(inputs=numbers(2, 2, 3))
    x = torch.arange(24.0).reshape(2, 2, 2, 3)
    assert backbone.feature_sizes == {"pooled": 12}
    assert backbone({"x": x})["pooled"].tolist() == [list(range(12)), list(range(12, 24))]


def test_it_has_nothing_to_train() -> None:
    assert not Flatten(inputs=numbers(3)).state_dict()


def test_sparse_rows_stay_sparse_and_are_announced() -> None:
    backbone = Flatten(inputs={"x": InputSpec("sparse", (4,))})
    x = SparseRows(
        torch.tensor([1, 3]), torch.tensor([0, 1]), torch.tensor([1, 1]), torch.tensor([2.0, 5]), 4
    )
    assert backbone.feature_sizes == {"pooled": 4}
    assert backbone.sparse_features == {"pooled"}
    assert backbone({"x": x})["pooled"] is x
    assert not Flatten(inputs=numbers(3)).sparse_features


def test_a_text_is_refused() -> None:
    with pytest.raises(UserError, match="text=tfidf"):
        Flatten(inputs={"x": InputSpec("tokens", (9,), 5)})
