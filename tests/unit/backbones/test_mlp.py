import numpy as np
import pytest
import torch
from torch import nn

from mlc.backbones.mlp import MLP
from mlc.errors import UserError
from mlc.inputs import InputSpec
from mlc.rows import SparseRows
from tests.contract.grid import build, numbers


def story(backbone: MLP) -> list[tuple[str, float]]:
    """The layers that compute something, each with the number that describes it."""
    told: list[tuple[str, float]] = []
    for layer in backbone.modules():
        if isinstance(layer, nn.Dropout):
            told.append(("dropout", layer.p))
        elif isinstance(layer, nn.Linear):
            told.append(("dense", layer.out_features))
        elif not list(layer.children()) and not isinstance(layer, nn.Flatten | nn.Identity):
            told.append((type(layer).__name__.lower(), 0))
    return told


def test_wide_mlp_has_exactly_the_layers_of_its_source() -> None:
    # dropout .3, dense 1600, .6, 1200, .6, 800, .6; ReLU; the sigmoid is the head's.
    backbone = build("backbone", "wide_mlp", inputs=numbers(10))
    assert story(backbone) == [
        ("dropout", 0.3),
        ("dense", 1600),
        ("relu", 0),
        ("dropout", 0.6),
        ("dense", 1200),
        ("relu", 0),
        ("dropout", 0.6),
        ("dense", 800),
        ("relu", 0),
        ("dropout", 0.6),
    ]
    parameters = sum(p.numel() for p in backbone.parameters())
    assert parameters == (10 * 1600 + 1600) + (1600 * 1200 + 1200) + (1200 * 800 + 800)
    assert backbone.feature_sizes == {"layer1": 1600, "layer2": 1200, "layer3": 800, "pooled": 800}


def mlp(norm: str = "none", input_dropout: float = 0.0, dropout: float = 0.0) -> MLP:
    return MLP(
        inputs=numbers(2, 3),
        widths=[4, 5],
        input_dropout=input_dropout,
        dropout=dropout,
        norm=norm,  # type: ignore[arg-type]
    )


def test_two_layers_equal_numpy() -> None:
    backbone = mlp()
    w1, b1, w2, b2 = (p.detach().numpy() for p in backbone.parameters())
    x = np.random.default_rng(0).normal(size=(7, 2, 3)).astype(np.float32)
    hidden = np.maximum(x.reshape(7, 6) @ w1.T + b1, 0)
    expected = np.maximum(hidden @ w2.T + b2, 0)
    features = backbone({"x": torch.from_numpy(x)})
    np.testing.assert_allclose(features["layer1"].detach(), hidden, atol=1e-6)
    np.testing.assert_allclose(features["layer2"].detach(), expected, atol=1e-6)
    assert features["pooled"] is features["layer2"]
    assert backbone.feature_sizes == {"layer1": 4, "layer2": 5, "pooled": 5}


@pytest.mark.parametrize(("norm", "kind"), [("batch", "batchnorm1d"), ("layer", "layernorm")])
def test_norm_stands_before_each_relu(norm: str, kind: str) -> None:
    layers = [name for name, _ in story(mlp(norm, dropout=0.5))]
    assert layers == ["dense", kind, "relu", "dropout"] * 2


def test_layer_norm_equals_numpy() -> None:
    backbone = MLP(inputs=numbers(3), widths=[4], input_dropout=0.0, dropout=0.0, norm="layer")
    weight, bias = (p.detach().numpy() for p in list(backbone.parameters())[:2])
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    raw = x @ weight.T + bias
    centred = raw - raw.mean(1, keepdims=True)
    expected = np.maximum(centred / np.sqrt(centred.var(1, keepdims=True) + 1e-5), 0)
    np.testing.assert_allclose(backbone({"x": torch.from_numpy(x)})["pooled"].detach(), expected, atol=1e-5)


def test_input_dropout_hits_the_input_in_training_only() -> None:
    torch.manual_seed(0)
    backbone = mlp(input_dropout=0.5)
    x = torch.randn(8, 2, 3)
    assert not torch.equal(backbone({"x": x})["pooled"], backbone({"x": x})["pooled"])
    backbone.eval()
    assert torch.equal(backbone({"x": x})["pooled"], backbone({"x": x})["pooled"])


SPARSE = {"x": InputSpec("sparse", (6,))}


def sparse_rows(rows: int = 3) -> SparseRows:
    """Two entries in every row."""
    starts = torch.arange(rows) * 2
    ids = torch.arange(2 * rows) % 6
    return SparseRows(ids, starts, torch.full((rows,), 2), torch.rand(2 * rows) + 1, width=6)


def test_sparse_rows_equal_dense_ones() -> None:
    torch.manual_seed(0)
    sparse = MLP(inputs=SPARSE, widths=[4, 5], input_dropout=0.0, dropout=0.0, norm="none")
    dense = MLP(inputs=numbers(6), widths=[4, 5], input_dropout=0.0, dropout=0.0, norm="none")
    state = sparse.state_dict()
    dense.load_state_dict(
        dict(zip(dense.state_dict(), [state.popitem(last=False)[1].T, *state.values()], strict=True))
    )
    x = sparse_rows()
    expected = dense({"x": x.dense()})
    for name, value in sparse({"x": x}).items():
        torch.testing.assert_close(value, expected[name])


def test_input_dropout_on_sparse_rows_hits_the_entries() -> None:
    torch.manual_seed(0)
    backbone = MLP(inputs=SPARSE, widths=[1], input_dropout=0.5, dropout=0.0, norm="none")
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.fill_(0.0 if parameter.ndim == 1 else 1.0)  # the sum of the entries
    ones = SparseRows(torch.arange(2000) % 6, torch.arange(2000), torch.ones(2000, dtype=torch.long), None, 6)
    values = backbone({"x": ones})["pooled"]
    assert set(values.unique().tolist()) == {0.0, 2.0}
    assert 0.45 < (values == 0).float().mean() < 0.55
    assert (backbone.eval()({"x": ones})["pooled"] == 1).all()


def test_a_text_is_refused_with_the_way_out() -> None:
    with pytest.raises(UserError, match=r"backbone=mlp reads numbers or .*backbone=lstm.*text=tfidf"):
        MLP(inputs={"x": InputSpec("tokens", (9,), 5)}, widths=[1], input_dropout=0, dropout=0, norm="none")
