"""The gradient at the features over many blocks of labels, in every number format."""

import pytest
import torch
from torch import Tensor

from mlc.backbones.mlp import MLP
from mlc.batch import Batch, LabelStatistics
from mlc.heads.base import Head
from mlc.inputs import InputSpec
from mlc.losses.base import Loss
from mlc.model import Network
from mlc.training.label_chunks import LabelChunks, cut_into_blocks
from mlc.training.label_features import DenseFeatures
from mlc.training.objective import objective
from tests.contract.grid import build

B, D, C, BLOCKS = 4, 6, 2, 1000
L = 11  # of a network


@pytest.mark.parametrize(
    ("own", "precision", "most"),
    [
        (torch.float32, None, 1e-5),
        (torch.float16, None, 1e-5),  # multiplied in float32
        (torch.float32, torch.bfloat16, 2e-3),
        (torch.bfloat16, torch.bfloat16, 2e-3),
    ],
    ids=str,
)
def test_a_thousand_blocks_add_up(own: torch.dtype, precision: torch.dtype | None, most: float) -> None:
    """A sum in bf16 soon no longer moves."""
    torch.manual_seed(0)
    x_BD = torch.randn(B, D).to(own).requires_grad_()
    features = DenseFeatures(x_BD, torch.float32, precision)
    gradients, blocks = torch.rand(BLOCKS, B, C), torch.rand(BLOCKS, D, C)
    for gradient_BC, block_DC in zip(gradients, blocks, strict=True):
        features.add_gradient(gradient_BC, block_DC)
    expected_BD = (gradients.double() @ blocks.double().mT).sum(0)
    assert features.gradient is not None
    assert features.gradient.dtype == torch.float32
    torch.testing.assert_close(features.gradient.double(), expected_BD, rtol=most, atol=0)


def test_features_that_learn_nothing_have_no_gradient() -> None:
    features = DenseFeatures(torch.ones(B, D), torch.float32, torch.bfloat16)
    features.add_gradient(torch.ones(B, C), torch.ones(D, C))
    assert features.gradient is None


def learning(head: str, loss: str) -> tuple[Network, Loss, Batch]:
    """A network whose backbone ends in a layer that runs in the number format of the run."""
    torch.manual_seed(0)
    x_BD, y_BL = torch.randn(9, D), (torch.rand(9, L) < 0.3).float()
    y_BL[:, 0] = 1  # the softmax head wants a label in each row
    labels = LabelStatistics.from_targets(y_BL)
    backbone = MLP(
        inputs={"x": InputSpec("numbers", (D,))}, widths=[8], input_dropout=0.0, dropout=0.0, norm="none"
    )
    made: Head = build("head", head, in_features=8, labels=labels)
    network = Network(backbone=backbone, head=made)
    return network, build("loss", loss, labels=labels), Batch(inputs={"x": x_BD}, y_BL=y_BL)


def of_backbone(network: Network) -> Tensor:
    found = [parameter.grad for parameter in network.backbone.parameters() if parameter.grad is not None]
    assert len(found) == 2, "a weight and a bias"
    return torch.cat([gradient.flatten() for gradient in found])


@pytest.mark.parametrize(
    ("head", "loss"),
    [
        ("sigmoid", "binary_cross_entropy"),
        ("softmax", "categorical_cross_entropy"),
        ("factorised", "factorised_kl_mse"),
    ],
)
def test_a_backbone_whose_output_is_bf16_learns_from_blocks(head: str, loss: str) -> None:
    network, of_loss, batch = learning(head, loss)
    objective(network, of_loss, batch).backward()
    exact = of_backbone(network)
    network.zero_grad()
    cut_into_blocks(network.head, size=2)
    kinds: list[torch.dtype] = []
    network.backbone.register_forward_hook(lambda _, __, output: kinds.append(output["pooled"].dtype))
    LabelChunks(network, of_loss, precision="bf16", update=None)(batch).backward()
    assert kinds == [torch.bfloat16]
    found = of_backbone(network)
    assert not torch.equal(found, exact)
    assert float((found - exact).norm() / exact.norm()) < 0.03
