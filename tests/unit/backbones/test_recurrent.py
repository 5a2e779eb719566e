from typing import Any

import pytest
import torch

from mlc.backbones.recurrent import Recurrent
from mlc.inputs import InputSpec
from tests.unit.backbones.texts import INPUTS, LENGTHS, TEXTS


def recurrent(**changes: Any) -> Recurrent:
    torch.manual_seed(0)
    options: dict[str, Any] = {
        "inputs": INPUTS,
        "cell": "lstm",
        "embedding": 6,
        "char_ngrams": None,
        "char_buckets": 1,
        "width": 4,
        "layers": 1,
        "bidirectional": False,
        "pooling": "last",
        "word_dropout": 0.0,
        "embedding_dropout": 0.0,
        "channel_dropout": 0.0,
        "dropout": 0.0,
    }
    return Recurrent(**(options | changes))


def states_alone(model: Recurrent, row: int) -> torch.Tensor:
    """T×C states of one text that was never padded."""
    text = TEXTS[row : row + 1, : LENGTHS[row]]
    states: torch.Tensor = model.cells(model.embedding(text))[0][0]
    return states


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("layers", [1, 2])
def test_last_is_the_state_after_the_last_word(cell: str, layers: int) -> None:
    model = recurrent(cell=cell, layers=layers)
    features = model({"x": TEXTS})
    for row in range(3):
        torch.testing.assert_close(features["pooled"][row], states_alone(model, row)[-1])


@pytest.mark.parametrize("bidirectional", [False, True])
def test_texts_of_equal_length_need_no_packing_and_give_the_same(bidirectional: bool) -> None:
    model = recurrent(bidirectional=bidirectional)
    mixed = model({"x": TEXTS})
    for row in range(3):
        text = TEXTS[row : row + 1, : LENGTHS[row]]
        alone = model({"x": text.expand(2, -1)})
        torch.testing.assert_close(alone["pooled"], mixed["pooled"][row].expand(2, -1))
        torch.testing.assert_close(alone["tokens"][1], mixed["tokens"][row, : LENGTHS[row]])


def test_both_directions_end_where_they_have_read_all() -> None:
    model = recurrent(bidirectional=True)
    features = model({"x": TEXTS})
    assert model.feature_sizes == {"tokens": 8, "last": 8, "pooled": 8}
    for row in range(3):
        states = states_alone(model, row)
        expected = torch.cat([states[-1, :4], states[0, 4:]])
        torch.testing.assert_close(features["last"][row], expected)
        torch.testing.assert_close(features["tokens"][row, : LENGTHS[row]], states)
        assert not features["tokens"][row, LENGTHS[row] :].any()


@pytest.mark.parametrize("pooling", ["max", "mean", "attention", "max_attention"])
def test_pooling_over_the_states(pooling: str) -> None:
    model = recurrent(pooling=pooling, cell="gru")
    features = model({"x": TEXTS})
    for row in range(3):
        states = states_alone(model, row)
        by_hand = {"max": states.amax(0), "mean": states.mean(0)}
        if model.score is not None:
            weights = (states @ model.score.weight[0]).exp()
            by_hand["attention"] = (weights[:, None] * states).sum(0) / weights.sum()
        expected = torch.cat([by_hand[name] for name in pooling.split("_")])
        torch.testing.assert_close(features["pooled"][row], expected)
    assert features["pooled"].shape[1] == model.feature_sizes["pooled"]


def test_the_network_of_s8_has_its_parameters() -> None:
    # Keras: Embedding(10000, 512) has 5,120,000 and LSTM(32) 4 * 32 * (512 + 32 + 1) = 69,760.
    spec = {"x": InputSpec("tokens", (100,), vocabulary=10_000)}
    model = recurrent(inputs=spec, embedding=512, width=32)
    count = sum(p.numel() for p in model.parameters())
    assert count == 5_120_000 + 69_760 + 4 * 32  # torch has a second bias


def test_dropout_in_training_only() -> None:
    model = recurrent(dropout=0.5, layers=2, embedding_dropout=0.2)
    assert not torch.equal(model({"x": TEXTS})["pooled"], model({"x": TEXTS})["pooled"])
    model.eval()
    assert torch.equal(model({"x": TEXTS})["pooled"], model({"x": TEXTS})["pooled"])
