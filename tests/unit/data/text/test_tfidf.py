from typing import Any

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import FeatureUnion

from mlc.data.text.restore import restore_text
from mlc.data.text.tfidf import FittedTfidf, Tfidf
from mlc.errors import UserError

TRAIN = [
    "Übung macht den Meister, die Übung!",
    "the cat sat on the mat",
    "the dog sat :) 👍",
    "a cat and a dog",
    "",
]
NEW = ["the Übung of the cats", "nothing known", "", "sat sat sat 👍 👍 !"]
OPTIONS: dict[str, Any] = {
    "tokens": "words",
    "word_ngrams": [1, 2],
    "char_ngrams": None,
    "min_count": 1,
    "max_features": None,
    "sublinear": True,
    "lowercase": True,
    "norm": "l2",
}


def fit(**changed: Any) -> FittedTfidf:
    return Tfidf(**(OPTIONS | changed)).fit(TRAIN)


def reference(changed: dict[str, Any]) -> FeatureUnion:
    options = OPTIONS | changed
    common = {
        "min_df": options["min_count"],
        "max_features": options["max_features"],
        "sublinear_tf": options["sublinear"],
        "lowercase": options["lowercase"],
        "norm": options["norm"],
        "dtype": np.float32,
    }
    blocks = {}
    if options["word_ngrams"]:
        blocks["words"] = TfidfVectorizer(ngram_range=tuple(options["word_ngrams"]), **common)
    if options["char_ngrams"]:
        blocks["characters"] = TfidfVectorizer(
            ngram_range=tuple(options["char_ngrams"]), analyzer="char_wb", **common
        )
    return FeatureUnion(list(blocks.items())).fit(TRAIN)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"char_ngrams": [2, 4], "max_features": 20},
        {"word_ngrams": None, "char_ngrams": [3, 3], "norm": "l1", "lowercase": False},
        {"word_ngrams": [1, 1], "min_count": 2, "sublinear": False, "norm": None},
    ],
)
def test_equals_scikit_learn_before_and_after_it_was_stored(changed: dict[str, Any]) -> None:
    fitted = fit(**changed)
    for encoder in (fitted, restore_text(fitted.state())):
        rows = encoder.encode(NEW)
        expected_ND = reference(changed).transform(NEW).toarray()
        assert rows.width == expected_ND.shape[1]
        np.testing.assert_array_equal(rows.dense().numpy(), expected_ND)  # bit for bit
        assert rows.ids_M.dtype == torch.int32
        assert rows.values_M is not None
        assert rows.values_M.dtype == torch.float32


def test_all_tokens_count_signs_and_emoji() -> None:
    fitted = fit(tokens="all", word_ngrams=[1, 1], min_count=2)
    assert fitted.blocks[0].terms == ["cat", "dog", "sat", "the"]
    assert set(fit(tokens="all", word_ngrams=[1, 1]).blocks[0].terms) >= {"!", ",", ")", ":", "👍", "a"}
    restored = restore_text(fit(tokens="all").state())
    np.testing.assert_array_equal(restored.encode(NEW).dense(), fit(tokens="all").encode(NEW).dense())


def test_a_text_is_read_by_itself() -> None:
    fitted = fit(char_ngrams=[3, 5])
    together = fitted.encode(NEW).dense()
    apart = torch.cat([fitted.encode([text]).dense() for text in NEW])
    assert torch.equal(together, apart)


def test_texts_without_known_terms_have_no_numbers() -> None:
    rows = fit().encode(NEW)
    assert rows.length_N.tolist()[1:3] == [0, 0]
    assert len(fit().encode([])) == 0


def test_notes_count_columns_and_texts_without_any() -> None:
    assert fit(word_ngrams=[1, 1], min_count=2, char_ngrams=[3, 3]).notes == [
        "4 different words of the training texts are counted.",
        f"{len(fit(word_ngrams=None, char_ngrams=[3, 3], min_count=2).blocks[0].terms)} different runs of 3 "
        "characters of the training texts are counted.",
        "1 of 5 training texts has none of these.",
    ]


def test_nothing_left_to_count_is_a_sentence() -> None:
    with pytest.raises(UserError, match=r"none of the words stands in 9 of the 5 training texts: lower"):
        fit(word_ngrams=[1, 1], min_count=9)
    with pytest.raises(UserError, match=r"none of the runs of 1 to 2 words stands in 1 of the 2"):
        Tfidf(**OPTIONS).fit(["", ". "])


def test_options_that_count_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="both null"):
        fit(word_ngrams=None)
    with pytest.raises(ValueError, match="shorter length first"):
        fit(word_ngrams=[2, 1])


def test_stop_words_are_left_out_as_scikit_learn_does() -> None:
    texts = ["the cat and the dog", "a dog of the house", "cats and houses of cards"]
    fitted = Tfidf(
        tokens="words", word_ngrams=[1, 2], char_ngrams=None, min_count=1, stop_words="english"
    ).fit(texts)
    reference = TfidfVectorizer(ngram_range=(1, 2), stop_words="english", sublinear_tf=True, dtype=np.float32)
    np.testing.assert_array_equal(
        fitted.encode(texts).dense().numpy(), reference.fit_transform(texts).toarray()
    )
    assert "the" not in " ".join(fitted.blocks[0].terms).split()
