from typing import Any

import pytest
import torch
from torch.nn import functional as F

from mlc.backbones.transformer import Transformer
from mlc.errors import UserError
from tests.unit.backbones.texts import INPUTS, LENGTHS, TEXTS


def transformer(**changes: Any) -> Transformer:
    torch.manual_seed(0)
    options: dict[str, Any] = {
        "inputs": INPUTS,
        "width": 6,
        "char_ngrams": None,
        "char_buckets": 1,
        "layers": 1,
        "heads": 2,
        "feed_forward": 10,
        "positions": "learned",
        "pooling": "mean",
        "word_dropout": 0.0,
        "dropout": 0.0,
    }
    model = Transformer(**(options | changes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
    return model


def layer_by_hand(weights: dict[str, torch.Tensor], x: torch.Tensor, heads: int) -> torch.Tensor:
    """One layer on the T×C tokens of one text, with the norm before each part."""

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        centred = x - x.mean(1, keepdim=True)
        scaled = centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt()
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    inner = norm(x, "norm1") @ weights["self_attn.in_proj_weight"].T + weights["self_attn.in_proj_bias"]
    parts = []
    for q, k, v in zip(*(part.chunk(heads, 1) for part in inner.chunk(3, 1)), strict=True):
        score = (q @ k.T / q.shape[1] ** 0.5).exp()
        parts.append(score / score.sum(1, keepdim=True) @ v)
    seen = torch.cat(parts, 1) @ weights["self_attn.out_proj.weight"].T + weights["self_attn.out_proj.bias"]
    x = x + seen
    hidden = F.gelu(norm(x, "norm2") @ weights["linear1.weight"].T + weights["linear1.bias"])
    return x + hidden @ weights["linear2.weight"].T + weights["linear2.bias"]


@pytest.mark.parametrize("training", [True, False])
def test_a_layer_equals_its_formula_on_every_text_alone(training: bool) -> None:
    model = transformer().train(training)
    weights = {name.removeprefix("layers.layers.0."): value for name, value in model.state_dict().items()}
    with torch.no_grad():
        features = model({"x": TEXTS})
        for row, length in enumerate(LENGTHS):
            assert model.position_TC is not None
            x = model.embedding.weight[TEXTS[row, :length]] + model.position_TC[:length]
            assert model.layers.norm is not None
            expected = model.layers.norm(layer_by_hand(weights, x, heads=2))
            torch.testing.assert_close(features["tokens"][row, :length], expected, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(features["pooled"][row], expected.mean(0), rtol=1e-4, atol=1e-5)


def test_max_is_over_the_words_only() -> None:
    features = transformer(pooling="max").eval()({"x": TEXTS})
    for row, length in enumerate(LENGTHS):
        torch.testing.assert_close(features["pooled"][row], features["tokens"][row, :length].amax(0))


def test_the_class_token_is_no_token_of_the_text() -> None:
    model = transformer(pooling="cls").eval()
    features = model({"x": TEXTS})
    assert features["tokens"].shape == (3, 5, 6)
    alone = model({"x": TEXTS[2:, :1]})
    torch.testing.assert_close(features["pooled"][2:], alone["pooled"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
def test_the_order_of_words_matters(positions: str) -> None:
    model = transformer(positions=positions).eval()
    pooled = model({"x": torch.tensor([[3, 7, 2], [2, 7, 3]])})["pooled"]
    assert (pooled[0] - pooled[1]).abs().max() > 1e-3


def test_sinusoids_are_those_of_the_paper() -> None:
    found = transformer(positions="sinusoidal")._positions(4) / 0.05
    for place in range(4):
        for i in range(3):
            angle = torch.tensor(place / 10_000 ** (2 * i / 6))
            torch.testing.assert_close(found[place, 2 * i], angle.sin())
            torch.testing.assert_close(found[place, 2 * i + 1], angle.cos())


def test_widths_that_do_not_divide_are_refused() -> None:
    with pytest.raises(UserError, match=r"backbone\.width=6 cannot be divided into backbone\.heads=4"):
        transformer(heads=4)
    with pytest.raises(UserError, match="needs an even"):
        transformer(width=5, heads=1, positions="sinusoidal")
