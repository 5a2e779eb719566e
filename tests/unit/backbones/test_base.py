import pytest
import torch

from mlc.backbones.base import Backbone, PretrainedBackbone, dense_input
from mlc.backbones.flatten import Flatten
from mlc.rows import SparseRows
from tests.contract.grid import numbers


def test_a_backbone_without_forward_cannot_be_built() -> None:
    class Unfinished(Backbone):
        pass

    with pytest.raises(TypeError, match="forward"):
        Unfinished()  # type: ignore[abstract]


def test_a_pretrained_backbone_must_say_how_its_weights_come_in() -> None:
    class Unfinished(PretrainedBackbone):
        def forward(self, inputs):  # type: ignore[no-untyped-def]
            return {}

    with pytest.raises(TypeError, match="load_pretrained"):
        Unfinished()  # type: ignore[abstract]


def test_no_learning_rate_differs_unless_a_backbone_says_so() -> None:
    assert Flatten(inputs=numbers(3)).learning_rate_factors == {}


def test_the_main_input_as_one_tensor() -> None:
    rows = SparseRows(torch.tensor([2]), torch.tensor([0]), torch.tensor([1]), torch.tensor([4.0]), 3)
    x_BD = torch.randn(2, 3)
    assert dense_input({"x": rows, "numbers": x_BD}).tolist() == [[0, 0, 4]]
    assert dense_input({"x": x_BD}) is x_BD
