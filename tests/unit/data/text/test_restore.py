from pathlib import Path

import pytest
import torch

from mlc.data.text.encoder import TextEncoder
from mlc.data.text.restore import restore_text
from mlc.data.text.tfidf import Tfidf
from mlc.data.text.words import Words
from mlc.training.checkpoint import load_checkpoint, save_checkpoint

TEXTS = ["Größe 我爱 👍🏽 the \ud800 cat's", "the cat", ""]
ENCODERS = [
    Words(lowercase=False, max_tokens=5, min_count=1),
    Tfidf(word_ngrams=[1, 2], char_ngrams=[2, 3], min_count=1),
]


@pytest.mark.parametrize("encoder", ENCODERS, ids=["words", "tfidf"])
def test_what_was_fitted_survives_a_checkpoint(encoder: TextEncoder, tmp_path: Path) -> None:
    fitted = encoder.fit(TEXTS)
    save_checkpoint(tmp_path / "c.safetensors", {"preparation": fitted.state()})
    restored = restore_text(load_checkpoint(tmp_path / "c.safetensors")["preparation"])
    new = [*TEXTS, "new cat"]
    expected, found = fitted.encode(new), restored.encode(new)
    assert type(restored) is type(fitted)
    assert found.spec == expected.spec
    assert torch.equal(found.ids_M, expected.ids_M)
    assert torch.equal(found.start_N, expected.start_N)
    assert torch.equal(found.length_N, expected.length_N)
    assert restored.notes == []
