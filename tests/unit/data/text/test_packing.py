import pytest
import torch

from mlc.data.text.packing import pack, unpack


@pytest.mark.parametrize("value", ["", "größe 👍 \ud800", ["a", "我"], {"n": 1, "none": None}])
def test_values_come_back(value: object) -> None:
    tensor = pack(value)
    assert tensor.dtype == torch.uint8
    assert unpack(tensor) == value
