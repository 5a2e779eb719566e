import pytest
import torch
from torch import nn

from mlc.backbones.cnn import CNN
from mlc.backbones.flatten import Flatten
from mlc.backbones.join import Join
from mlc.backbones.mlp import MLP
from mlc.errors import UserError
from mlc.inputs import InputSpec

INPUTS = {"x": InputSpec("numbers", (4,)), "numbers": InputSpec("numbers", (3,))}
X_BD, SIDE_BD = torch.arange(8.0).view(2, 4), -torch.arange(6.0).view(2, 3)


def mlp() -> MLP:
    return MLP(inputs=INPUTS, widths=[5, 6], input_dropout=0.0, dropout=0.0, norm="none")


def joined(
    *, feature: str = "pooled", widths: list[int] | None = None, backbone: nn.Module | None = None
) -> Join:
    return Join(
        backbone=backbone or mlp(),  # type: ignore[arg-type]
        inputs=INPUTS,
        picture=None,
        feature=feature,
        widths=[7] if widths is None else widths,
        dropout=0.0,
    ).eval()


def test_without_layers_it_is_the_concatenation() -> None:
    join = joined(widths=[], backbone=Flatten(inputs=INPUTS))
    features = join({"x": X_BD, "numbers": SIDE_BD})
    assert features["pooled"].equal(torch.cat([X_BD, SIDE_BD], dim=1))
    assert features["encoder"].equal(X_BD)
    assert join.feature_sizes == {"pooled": 7, "encoder": 4}


def test_side_inputs_join_the_named_layer() -> None:
    join = joined(feature="layer1")
    features = join({"x": X_BD, "numbers": SIDE_BD})
    expected = join.layers[0](torch.cat([join.backbone({"x": X_BD})["layer1"], SIDE_BD], dim=1))
    assert features["pooled"].equal(expected)
    assert {name: values.shape[1] for name, values in features.items()} == join.feature_sizes


def test_a_picture_joins_by_its_own_backbone() -> None:
    spec = InputSpec("pictures", (1, 4, 4))
    cnn = CNN(inputs={"x": spec}, channels=[3], halvings=1, dropout=0.0)
    join = Join(
        backbone=mlp(),
        inputs=INPUTS | {"picture": spec},
        picture=cnn,
        feature="pooled",
        widths=[],
        dropout=0.0,
    ).eval()
    picture = torch.randn(2, 1, 4, 4)
    pooled = join({"x": X_BD, "numbers": SIDE_BD, "picture": picture})["pooled"]
    assert pooled.shape == (2, 6 + 3 + 3)
    assert pooled[:, 9:].equal(cnn({"x": picture})["pooled"])


def test_factors_of_learning_rates_come_through() -> None:
    backbone = mlp()
    backbone.learning_rate_factors = {"layers.0.0.weight": 0.1}
    assert joined(backbone=backbone).learning_rate_factors == {"backbone.layers.0.0.weight": 0.1}


def test_positions_cannot_be_joined() -> None:
    cnn = CNN(inputs={"x": InputSpec("pictures", (1, 4, 4))}, channels=[3], halvings=1, dropout=0.0)
    with pytest.raises(
        UserError, match=r"^join\.feature=tokens is no feature .*: this backbone has conv1, pooled$"
    ):
        joined(feature="tokens", backbone=cnn)
