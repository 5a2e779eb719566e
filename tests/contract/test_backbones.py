"""What every shipped backbone does, on every kind of input that suits it."""

import importlib.util
import json

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from mlc.backbones.base import Backbone, dense
from mlc.errors import UserError
from mlc.inputs import InputSpec
from mlc.rows import RaggedRows, SparseRows, TokenRows
from tests.contract.grid import build, names, numbers

ROWS, COLUMNS, VOCABULARY = 8, 12, 20
BERT = {
    "model_type": "bert",
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 20,
    "max_position_embeddings": 10,
}
SPECS = {
    "number": numbers(1)["x"],
    "numbers": numbers(10)["x"],
    "grey": numbers(1, 8, 8)["x"],
    "colour": numbers(3, 12, 9)["x"],
    "sparse": InputSpec("sparse", (COLUMNS,)),
    "tokens": InputSpec("tokens", (10,), vocabulary=VOCABULARY),
    "pretrained": InputSpec("tokens", (10,), vocabulary=VOCABULARY, encoder=json.dumps(BERT)),
}
# What these are made for; whatever else they suit is tested, too.
TABLES = ("number", "numbers", "grey", "colour", "sparse")
MADE_FOR = {
    **dict.fromkeys(["flatten", "linear", "mlp", "wide_mlp", "text_mlp"], TABLES),
    "cnn": ("grey", "colour"),
    **dict.fromkeys(["embedding_bag", "text_cnn", "lstm", "gru", "transformer"], ("tokens",)),
    "pretrained_text": ("pretrained",),
}
NEEDS_A_FOLDER = {"pretrained_image"}  # has unit tests only
if importlib.util.find_spec("transformers") is None:
    NEEDS_A_FOLDER |= {"pretrained_text"}
NAMES = [name for name in names("backbone") if name not in NEEDS_A_FOLDER]


def build_backbone(name: str, kind: str, seed: int = 0) -> Backbone:
    torch.manual_seed(seed)
    backbone: Backbone = build("backbone", name, inputs={"x": SPECS[kind]})
    backbone.register_forward_hook(_as_tensors)
    return backbone


def _as_tensors(backbone: Backbone, _: object, features: dict[str, Tensor | SparseRows]) -> dict[str, Tensor]:
    """The features, with numbers in the place of the sparse rows that are handed through."""
    given = {name for name, feature in features.items() if isinstance(feature, SparseRows)}
    assert given == backbone.sparse_features
    return {name: dense(feature) for name, feature in features.items()}


def suits(name: str, kind: str) -> bool:
    try:
        build_backbone(name, kind)
    except UserError:
        return False
    return True


SUITABLE = [(name, kind) for name in NAMES for kind in SPECS if suits(name, kind)]
BACKBONES = pytest.mark.parametrize(("name", "kind"), SUITABLE)
TEXTS = [(name, kind) for name, kind in SUITABLE if SPECS[kind].kind == "tokens"]


def examples(kind: str) -> Tensor | RaggedRows:
    """ROWS examples of which a batch can be cut."""
    random, spec = torch.Generator().manual_seed(0), SPECS[kind]
    if spec.kind not in ("tokens", "sparse"):
        return torch.randn(ROWS, *spec.shape, generator=random)
    length_N = torch.tensor([3, 1, 9, 4, 2, 10, 1, 6])
    start_N, size = length_N.cumsum(0) - length_N, int(length_N.sum())
    if spec.kind == "tokens":
        ids_M = torch.randint(1, VOCABULARY, (size,), generator=random)
        return TokenRows(ids_M, start_N, length_N, spec)
    ids_M = torch.arange(size) % COLUMNS
    return SparseRows(ids_M, start_N, length_N, torch.randn(size, generator=random), COLUMNS)


def batch(kind: str) -> Tensor | SparseRows:
    return examples(kind)[torch.arange(ROWS)]


def sizes(features: dict[str, Tensor]) -> dict[str, int]:
    return {key: value.shape[-1] for key, value in features.items() if key != "mask"}


def test_every_backbone_suits_what_it_is_made_for() -> None:
    assert set(NAMES) <= MADE_FOR.keys()
    lacking = {(name, kind) for name in NAMES for kind in MADE_FOR[name]} - set(SUITABLE)
    assert not lacking


@BACKBONES
def test_features_have_the_names_and_sizes_that_are_said(name: str, kind: str) -> None:
    backbone = build_backbone(name, kind)
    features = backbone({"x": batch(kind)})
    assert sizes(features) == backbone.feature_sizes
    assert "pooled" in features
    assert ("mask" in features) == (SPECS[kind].kind == "tokens")
    for key, value in features.items():
        assert value.shape[0] == ROWS
        assert value.ndim == (3 if key == "tokens" else 2), key
        assert value.isfinite().all(), key


@BACKBONES
def test_gradient_reaches_every_parameter(name: str, kind: str) -> None:
    backbone, x = build_backbone(name, kind), batch(kind)
    if isinstance(x, Tensor) and x.is_floating_point():
        x.requires_grad_()  # a backbone may have no parameters
    features_BD = backbone({"x": x})["pooled"]
    if not features_BD.requires_grad:
        assert not list(backbone.parameters())
        return
    (features_BD * torch.randn(features_BD.shape)).sum().backward()
    for parameter_name, parameter in backbone.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.any(), parameter_name


@pytest.mark.parametrize(("name", "kind"), [case for case in SUITABLE if case not in TEXTS])
def test_features_depend_on_every_input(name: str, kind: str) -> None:
    x = batch(kind)
    values = (x.numbers() if isinstance(x, SparseRows) else x).requires_grad_()
    features_BD = build_backbone(name, kind).eval()({"x": x})["pooled"]
    (features_BD * torch.randn(features_BD.shape)).sum().backward()
    assert values.grad is not None
    grad = values.grad[None].T if isinstance(x, SparseRows) else values.grad.flatten(1).T
    assert grad.ne(0).any(1).all()


@BACKBONES
def test_evaluation_is_deterministic_and_each_row_is_its_own(name: str, kind: str) -> None:
    """Of a text that is padded in a batch and not alone, too: so padding changes nothing."""
    backbone, x, rows = build_backbone(name, kind), batch(kind), examples(kind)
    backbone({"x": x})  # a step of training, so that running statistics are not at their start
    backbone.eval()
    features, again = backbone({"x": x}), backbone({"x": x})
    alone = [backbone({"x": rows[torch.tensor([n])]}) for n in range(ROWS)]
    for key, value in features.items():
        assert torch.equal(again[key], value), key
        for n, one in enumerate(alone):
            # Features of positions are compared where there is text.
            length = one[key].shape[1] if key in ("tokens", "mask") else None
            found = value[n : n + 1, :length]
            torch.testing.assert_close(one[key], found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "kind"), TEXTS)
def test_every_token_of_a_text_matters(name: str, kind: str) -> None:
    backbone = build_backbone(name, kind).eval()
    with torch.no_grad():
        for parameter in backbone.parameters():  # else the changes may be too small to see
            parameter.normal_(std=0.3)
    text_1T = torch.tensor([[3, 7, 5, 11, 2]])
    others = text_1T.repeat(5, 1) + torch.eye(5, dtype=torch.long)
    features = backbone({"x": torch.cat([text_1T, others])})["pooled"]
    assert ((features[1:] - features[0]).abs().amax(1) > 1e-5).all()


@pytest.mark.parametrize(("name", "kind"), TEXTS)
def test_a_text_of_padding_alone_gives_finite_features(name: str, kind: str) -> None:
    backbone = build_backbone(name, kind)
    features = backbone({"x": torch.tensor([[4, 2, 1], [0, 0, 0]])})
    assert all(value.isfinite().all() for value in features.values())
    features["pooled"].sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in backbone.parameters())
    assert features["mask"].tolist() == [[True] * 3, [False] * 3]


@BACKBONES
def test_a_saved_backbone_is_the_same_backbone(name: str, kind: str) -> None:
    saved, x = build_backbone(name, kind), batch(kind)
    saved({"x": x})
    other = build_backbone(name, kind, seed=1)
    other.load_state_dict(load(save(saved.state_dict())))
    expected, features = saved.eval()({"x": x}), other.eval()({"x": x})
    assert features.keys() == expected.keys()
    assert all(torch.equal(features[key], expected[key]) for key in expected)
