import pytest
import torch

from mlc.backbones.embedding_bag import EmbeddingBag
from mlc.errors import UserError
from tests.contract.grid import numbers
from tests.unit.backbones.texts import INPUTS, LENGTHS, TEXTS


def bag(pooling: str = "mean", widths: tuple[int, ...] = (), **changes: object) -> EmbeddingBag:
    torch.manual_seed(0)
    options = {"inputs": INPUTS, "embedding": 6, "char_ngrams": None, "char_buckets": 1, "pooling": pooling}
    options |= {"token_dropout": 0.0, "widths": list(widths), "dropout": 0.0, **changes}
    return EmbeddingBag(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("pooling", ["mean", "sum"])
def test_pooled_is_the_mean_or_sum_over_the_words(pooling: str) -> None:
    model = bag(pooling)
    words = [model.embedding.weight[text[:length]] for text, length in zip(TEXTS, LENGTHS, strict=True)]
    expected = torch.stack([word.mean(0) if pooling == "mean" else word.sum(0) for word in words])
    features = model({"x": TEXTS})
    torch.testing.assert_close(features["pooled"], expected)
    assert features["mask"].sum(1).tolist() == LENGTHS


def test_dense_layers_follow() -> None:
    model = bag(widths=(5, 3))
    features = model({"x": TEXTS})
    first = model.layers[0][0](features["embedding"]).relu()  # type: ignore[index, operator]
    torch.testing.assert_close(features["layer1"], first)
    torch.testing.assert_close(features["pooled"], model.layers[1][0](first).relu())  # type: ignore[index, operator]
    assert model.feature_sizes == {"tokens": 6, "embedding": 6, "layer1": 5, "layer2": 3, "pooled": 3}


def test_token_dropout_leaves_out_whole_words_in_training_only() -> None:
    model = bag("sum", token_dropout=0.25)
    with torch.no_grad():
        model.embedding.weight.fill_(1.0)
    x = {"x": torch.ones(2000, 1, dtype=torch.long)}
    kept = model(x)["pooled"]
    assert (kept == kept[:, :1]).all()
    assert 0.7 < kept[:, 0].mean() < 0.8
    assert (model.eval()(x)["pooled"] == 1).all()


def test_numbers_are_refused() -> None:
    with pytest.raises(UserError, match="backbone=embedding_bag reads texts as tokens"):
        bag(inputs=numbers(3))
