import json
from typing import Any

import pytest
import torch
from torch import Tensor

from mlc.backbones.base import Backbone
from mlc.backbones.char_ngrams import bucket, char_ngrams
from mlc.backbones.word_embedding import WordEmbedding
from mlc.errors import UserError
from mlc.inputs import InputSpec
from tests.contract.grid import options, target

WORDS = [None, None, "joy", "joyful", "a", "enjoy", "größe", "b"]  # ids 0 padding, 1 unknown
SPEC = InputSpec("tokens", (6,), vocabulary=len(WORDS), encoder=json.dumps(WORDS), unknown=1)
TEXTS = torch.tensor([[3, 2, 3, 1, 5], [4, 6, 0, 0, 0], [1, 0, 0, 0, 0]])
PLAIN = InputSpec("tokens", (6,), vocabulary=50, padding=7)


def embedding(spec: InputSpec = SPEC, **changes: Any) -> WordEmbedding:
    torch.manual_seed(0)
    return WordEmbedding(spec, 4, **changes)


def pieces(**changes: Any) -> WordEmbedding:
    return embedding(**{"char_ngrams": [4, 5], "char_buckets": 30, **changes})


def by_hand(layer: WordEmbedding, token: int) -> Tensor:
    word, vector = WORDS[token], layer.weight[token]
    ngrams = [] if word is None else list(char_ngrams(word, 4, 5))
    if not ngrams or layer.ngram_weight is None:
        return vector
    return vector + sum(layer.ngram_weight[bucket(ngram, 30)] for ngram in ngrams) / len(ngrams)


def test_a_vector_is_the_words_own_and_the_mean_of_its_ngrams() -> None:
    layer = pieces()
    found = layer(TEXTS)
    for row, text in enumerate(TEXTS.tolist()):
        for place, token in enumerate(text):
            torch.testing.assert_close(found[row, place], by_hand(layer, token))
    assert torch.equal(found[0, 3], layer.weight[1])  # unknown
    assert torch.equal(found[1, 0], layer.weight[4])  # "<a>" is too short
    assert not found[1, 2:].any()


def test_gradients_equal_those_of_the_formula() -> None:
    layer, other = pieces(), pieces()
    toward = torch.randn(3, 5, 4)
    (layer(TEXTS) * toward).sum().backward()
    rows = [torch.stack([by_hand(other, token) for token in text]) for text in TEXTS.tolist()]
    (torch.stack(rows) * toward * (TEXTS != 0)[..., None]).sum().backward()
    for ours, theirs in zip(layer.parameters(), other.parameters(), strict=True):
        assert ours.grad is not None
        assert ours.grad.any()
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_texts_without_words_have_no_ngrams() -> None:
    layer = pieces()
    found = layer(torch.tensor([[1, 0], [0, 0]]))
    assert torch.equal(found, torch.stack([layer.weight[[1, 0]], layer.weight[[0, 0]]]))
    found.sum().backward()
    assert layer.ngram_weight is not None
    assert layer.ngram_weight.grad is not None
    assert not layer.ngram_weight.grad.any()


def test_the_table_of_ngrams_is_made_again_and_not_saved() -> None:
    layer = pieces()
    assert list(layer.state_dict()) == ["weight", "ngram_weight"]
    torch.manual_seed(1)
    other = WordEmbedding(SPEC, 4, char_ngrams=[4, 5], char_buckets=30)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(TEXTS), layer(TEXTS))


def test_the_vector_of_padding_is_zero_and_stays_it() -> None:
    layer = embedding(PLAIN)
    assert list(layer.state_dict()) == ["weight"]
    assert not layer.weight[7].any()
    assert 0.04 < layer.weight.abs().max() <= 0.05
    layer(torch.tensor([[7, 3]])).sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.ne(0).any(1).nonzero().tolist() == [[3]]


def test_word_dropout_makes_words_unknown_in_training_only() -> None:
    layer = embedding(word_dropout=0.25)
    tokens = torch.tensor([[3, 0]]).repeat(2000, 1)
    found = layer(tokens)
    assert not found[:, 1].any()  # padding stays padding
    unknown = (found[:, 0] == layer.weight[1]).all(1)
    assert 0.2 < unknown.float().mean() < 0.3
    assert (found[~unknown, 0] == layer.weight[3]).all()
    assert (layer.eval()(tokens)[:, 0] == layer.weight[3]).all()


def test_channel_dropout_hits_whole_dimensions_of_each_text() -> None:
    layer = embedding(channel_dropout=0.25)
    tokens = torch.tensor([[3, 2, 5]]).repeat(500, 1)
    found_BTC = layer(tokens)
    lost_BTC = found_BTC == 0
    assert (lost_BTC == lost_BTC[:, :1]).all()
    assert 0.2 < lost_BTC.float().mean() < 0.3
    torch.testing.assert_close(found_BTC[~lost_BTC], (layer.weight[tokens] / 0.75)[~lost_BTC])
    assert torch.equal(layer.eval()(tokens), layer.weight[tokens])


def test_dropout_hits_single_numbers() -> None:
    lost_BTC = embedding(dropout=0.25)(torch.tensor([[3, 2, 5]]).repeat(500, 1)) == 0
    assert 0.2 < lost_BTC.float().mean() < 0.3
    assert (lost_BTC != lost_BTC[:, :1]).any()


@pytest.mark.parametrize("encoder", ["", '{"model_type": "bert"}'])
def test_ngrams_of_tokens_that_are_no_words_are_refused(encoder: str) -> None:
    with pytest.raises(UserError, match=r"text=words, or set backbone\.char_ngrams=null"):
        pieces(spec=InputSpec("tokens", (6,), vocabulary=9, encoder=encoder))


def test_lengths_the_wrong_way_round_are_refused() -> None:
    with pytest.raises(UserError, match=r"char_ngrams=\[5, 3\].*set backbone\.char_ngrams=\[3,5\]"):
        pieces(char_ngrams=[5, 3])


def test_word_dropout_without_an_unknown_word_is_refused() -> None:
    with pytest.raises(UserError, match=r"word_dropout=0\.1.*text=words"):
        embedding(PLAIN, word_dropout=0.1)


@pytest.mark.parametrize("name", ["lstm", "gru", "text_cnn", "embedding_bag", "transformer"])
def test_every_backbone_for_texts_takes_words_to_pieces_and_leaves_padding_out(name: str) -> None:
    torch.manual_seed(0)
    changed = {**options("backbone", name), "char_ngrams": [3, 5], "char_buckets": 40}
    backbone: Backbone = target("backbone", name)(inputs={"x": SPEC}, **changed)
    (backbone({"x": TEXTS})["pooled"] * torch.rand(3, 1)).square().sum().backward()
    gradients = {key: value.grad for key, value in backbone.named_parameters()}
    assert gradients["embedding.ngram_weight"] is not None
    assert gradients["embedding.ngram_weight"].any()
    together = backbone.eval()({"x": TEXTS})["pooled"]
    for row, length in enumerate([5, 2, 1]):
        alone = backbone({"x": TEXTS[row : row + 1, :length]})["pooled"]
        torch.testing.assert_close(alone[0], together[row], rtol=1e-4, atol=1e-5)
