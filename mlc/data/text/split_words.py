"""Where a word begins and ends, in any script."""

import re
import unicodedata
from functools import lru_cache

# Written without spaces between words: every character is a token of its own, as in BERT.
_NO_SPACES = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
# Inside words of Persian and of the scripts of India, and between the parts of an emoji.
_JOINERS = "\u200c\u200d"
_MAYBE_MARKS = (*range(0x20000), *range(0xE0100, 0xE01F0))  # Unicode has its combining marks here
_SKIN_TONES = "\U0001f3fb-\U0001f3ff"


def split_words(text: str, *, lowercase: bool) -> list[str]:
    """The tokens of a text, in order: words, numbers, and every other sign by itself.

    A word is letters and digits with inner apostrophes ("don't", "b2b"). A number keeps its points and commas
    ("1,000.50"). Chinese and Japanese characters are one token each. An emoji with its skin tone, or several
    joined to one picture, is one token, and so is a flag. Nothing but white space is dropped.

    Args:
        text: any text.
        lowercase: read "The" as "the".
    """
    if lowercase:
        text = text.lower()
    # One spelling for ü (it can be one character or two) and for the apostrophe.
    text = unicodedata.normalize("NFC", text).replace("’", "'")
    return _pattern().findall(text)


@lru_cache(maxsize=1)
def _pattern() -> re.Pattern[str]:
    """The expression, with the accents and vowel signs that `re` itself does not take for parts of a word."""
    places = [code for code in _MAYBE_MARKS if unicodedata.category(chr(code))[0] == "M"]
    marks = _ranges(places) + _JOINERS
    letter = rf"[^\W_{_NO_SPACES}]"
    sign_marks = f"[{marks}{_SKIN_TONES}]*"
    return re.compile(
        r"\d+(?:[.,]\d+)+"
        rf"|{letter}+(?:[{marks}]+{letter}*|'{letter}+)*"
        r"|[\U0001f1e6-\U0001f1ff]{2}"
        rf"|\S{sign_marks}(?:(?<=\u200d)[^\w\s]{sign_marks})*"
    )


def _ranges(places: list[int]) -> str:
    """The characters at ascending places, as the inside of a character class."""
    starts = [place for place, before in zip(places, [-2, *places], strict=False) if place != before + 1]
    ends = [place for place, after in zip(places, [*places[1:], -2], strict=True) if place != after - 1]
    return "".join(f"{chr(start)}-{chr(end)}" for start, end in zip(starts, ends, strict=True))
