import pytest
import torch

from mlc.backbones.text_cnn import TextCNN
from mlc.errors import UserError
from tests.unit.backbones.texts import INPUTS, LENGTHS, TEXTS


def cnn(windows: list[int], dropout: float = 0.0) -> TextCNN:
    torch.manual_seed(0)
    return TextCNN(
        inputs=INPUTS,
        embedding=6,
        char_ngrams=None,
        char_buckets=1,
        windows=windows,
        channels=5,
        word_dropout=0.0,
        embedding_dropout=0.0,
        channel_dropout=0.0,
        dropout=dropout,
    )


@pytest.mark.parametrize("window", [1, 2, 3, 4, 7])
def test_each_phrase_is_kept_where_it_is_found_best(window: int) -> None:
    """Against a loop over every place that a window may have in one text."""
    model = cnn([window])
    convolution = model.convolutions[0]
    before, found = (window - 1) // 2, model({"x": TEXTS})[f"window{window}"]
    for row, (text, length) in enumerate(zip(TEXTS, LENGTHS, strict=True)):
        words = model.embedding.weight[text[:length]]
        scores = []
        for place in range(length):
            score = convolution.bias  # type: ignore[union-attr]
            for offset in range(window):
                word = place - before + offset
                if 0 <= word < length:
                    score = score + convolution.weight[:, :, offset] @ words[word]  # type: ignore[union-attr, index, operator]
            scores.append(score)
        torch.testing.assert_close(found[row], torch.stack(scores).amax(0).clamp(min=0))  # type: ignore[arg-type]


def test_features_of_all_windows_side_by_side() -> None:
    model = cnn([1, 3])
    features = model({"x": TEXTS})
    assert model.feature_sizes == {"window1": 5, "window3": 5, "tokens": 10, "pooled": 10}
    torch.testing.assert_close(features["pooled"], torch.cat([features["window1"], features["window3"]], 1))
    torch.testing.assert_close(features["pooled"], features["tokens"].amax(1))


def test_dropout_is_on_the_features_in_training_only() -> None:
    model = cnn([1, 2], dropout=0.9)
    assert (model({"x": TEXTS})["pooled"] == 0).float().mean() > 0.5
    assert torch.equal(model.eval()({"x": TEXTS})["pooled"][:, :5], model({"x": TEXTS})["window1"])


def test_a_length_twice_is_refused() -> None:
    with pytest.raises(UserError, match=r"backbone\.windows=\[3, 3\].*backbone\.channels"):
        cnn([3, 3])
