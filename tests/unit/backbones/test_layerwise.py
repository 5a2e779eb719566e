import pytest
from torch import nn

from mlc.backbones.layerwise import freeze, layer_of_parameter, rate_factors
from mlc.errors import UserError


class Stack(nn.Module):
    """Shaped as models of transformers are."""

    def __init__(self, depth: int = 3) -> None:
        super().__init__()
        self.config = type("Config", (), {"num_hidden_layers": depth})
        self.embeddings = nn.Embedding(2, 2)
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(nn.Linear(2, 2) for _ in range(3))})
        self.norm = nn.LayerNorm(2)


def learning(model: nn.Module) -> set[str]:
    return {
        name.removesuffix(".weight")
        for name, p in model.named_parameters()
        if p.requires_grad
        if "bias" not in name
    }


def test_embeddings_are_below_the_layers_and_the_rest_goes_with_the_top() -> None:
    layers, depth = layer_of_parameter(Stack())
    assert depth == 3
    assert {name: n for name, n in layers.items() if "bias" not in name} == {
        "embeddings.weight": 0,
        "encoder.layer.0.weight": 1,
        "encoder.layer.1.weight": 2,
        "encoder.layer.2.weight": 3,
        "norm.weight": 3,
    }


@pytest.mark.parametrize(
    ("frozen", "left"),
    [
        ("none", {"embeddings", "encoder.layer.0", "encoder.layer.1", "encoder.layer.2", "norm"}),
        ("embeddings", {"encoder.layer.0", "encoder.layer.1", "encoder.layer.2", "norm"}),
        (1, {"encoder.layer.1", "encoder.layer.2", "norm"}),
        (2, {"encoder.layer.2", "norm"}),
        (3, set()),
        ("all", set()),
    ],
)
def test_what_is_frozen(frozen: int, left: set[str]) -> None:
    model = Stack()
    freeze(model, frozen)
    assert learning(model) == left


def test_rates_fall_from_layer_to_layer() -> None:
    factors = rate_factors(Stack(), factor=0.1, layer_decay=0.5, prefix="encoder")
    assert factors["encoder.norm.bias"] == factors["encoder.encoder.layer.2.weight"] == 0.1
    assert factors["encoder.encoder.layer.1.weight"] == 0.05
    assert factors["encoder.encoder.layer.0.weight"] == 0.025
    assert factors["encoder.embeddings.weight"] == 0.0125


def test_a_model_without_such_layers_is_refused_where_they_matter() -> None:
    with pytest.raises(UserError, match=r"backbone\.frozen=4 does not fit a model that has 3 layers"):
        freeze(Stack(), 4)
    other = Stack(depth=7)
    with pytest.raises(UserError, match="no stack of equal layers"):
        freeze(other, "embeddings")
    with pytest.raises(UserError, match=r"backbone\.layer_decay=0\.5"):
        rate_factors(other, factor=1.0, layer_decay=0.5, prefix="encoder")
    assert set(rate_factors(other, factor=0.3, layer_decay=1.0, prefix="encoder").values()) == {0.3}
