import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlc.data.text.split_words import split_words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't STOP", ["don't", "stop"]),
        ("I’m, 'quoted'", ["i'm", ",", "'", "quoted", "'"]),
        ("1,000.50 and 3rd, b2b.", ["1,000.50", "and", "3rd", ",", "b2b", "."]),
        ("snake_case!!", ["snake", "_", "case", "!", "!"]),
        ("Größe ÉCOLE", ["größe", "école"]),
        ("U\u0308ber", ["über"]),  # u and a diaeresis of its own
        ("हिन्दी में", ["हिन्दी", "में"]),  # vowel signs stay with their words
        ("我爱 カナ 한국어", ["我", "爱", "カ", "ナ", "한국어"]),
        ("ok👍🏽👨\u200d👩\u200d👧❤\ufe0f🇩🇪🇫🇷", ["ok", "👍🏽", "👨\u200d👩\u200d👧", "❤\ufe0f", "🇩🇪", "🇫🇷"]),
        (" \t\n\u00a0", []),
        ("", []),
    ],
)
def test_tokens_by_hand(text: str, expected: list[str]) -> None:
    assert split_words(text, lowercase=True) == expected


def test_case_is_kept_when_asked() -> None:
    assert split_words("Don't STOP", lowercase=False) == ["Don't", "STOP"]


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_nothing_but_white_space_is_lost(text: str) -> None:
    read = unicodedata.normalize("NFC", text).replace("’", "'")
    assert "".join(split_words(text, lowercase=False)) == "".join(read.split())


@pytest.mark.parametrize("piece", ["1.", "1", "a'", "'", "\u200d", "👨\u200d", "\u0301", "我\u200d", "_"])
def test_strange_texts_take_no_longer_than_others(piece: str) -> None:
    start = time.perf_counter()
    split_words(piece * 100_000 + "a", lowercase=True)
    assert time.perf_counter() - start < 5  # quadratic time would be minutes
