"""Texts as words of a vocabulary, in their order."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated

from annotated_types import Ge
from torch import Tensor

from mlc.data.text.encoder import FittedText, TextEncoder
from mlc.data.text.notes import cut_note, empty_note
from mlc.data.text.packing import pack, unpack
from mlc.data.text.ragged import token_rows
from mlc.data.text.split_words import split_words
from mlc.inputs import InputSpec
from mlc.rows import TokenRows

_PADDING, _UNKNOWN, _FIRST_WORD = 0, 1, 2


class FittedWords(FittedText):
    """A vocabulary. Id 0 is padding, 1 an unknown word, and the words follow from 2 on.

    Args:
        words: the V known words, the most frequent first.
        lowercase: read "The" as "the".
        max_tokens: a text is cut after so many tokens.
        notes: sentences on the training texts.
    """

    KIND = "words"

    def __init__(
        self, words: Sequence[str], *, lowercase: bool, max_tokens: int, notes: Sequence[str] = ()
    ) -> None:
        super().__init__(notes=notes)
        self.words = tuple(words)
        self.lowercase = lowercase
        self.max_tokens = max_tokens

    def encode(self, texts: Sequence[str]) -> TokenRows:
        """N texts as ids of words; a text without words is one unknown word."""
        known = {word: place for place, word in enumerate(self.words, start=_FIRST_WORD)}
        cut = (split_words(text, lowercase=self.lowercase)[: self.max_tokens] for text in texts)
        ids = ([known.get(word, _UNKNOWN) for word in words] or [_UNKNOWN] for words in cut)
        return token_rows(ids, self._spec)

    @cached_property
    def _spec(self) -> InputSpec:
        """What a backbone must know, the words among it: it may look into them."""
        words = [*[None] * _FIRST_WORD, *self.words]
        return InputSpec(
            "tokens",
            (self.max_tokens,),
            vocabulary=len(words),
            padding=_PADDING,
            encoder=json.dumps(words),
            unknown=_UNKNOWN,
        )

    def state(self) -> dict[str, Tensor]:
        """The vocabulary and the options."""
        options = {"lowercase": self.lowercase, "max_tokens": self.max_tokens}
        return {"kind": pack(self.KIND), "options": pack(options), "words": pack(self.words)}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> "FittedWords":
        """The vocabulary that `state` gave."""
        return cls(unpack(state["words"]), **unpack(state["options"]))


class Words(TextEncoder):
    """Reads a text as its words, numbers and signs, in their order; see `split_words`.

    The vocabulary comes from the training texts alone. Words that are not in it are read as one and the same
    unknown word; so that a network learns what to make of it, `min_count` should leave some of the training
    words out.

    Args:
        lowercase: read "The" as "the".
        max_tokens: a text is cut after so many tokens.
        max_vocabulary: keep the most frequent words, at most so many; null keeps all.
        min_count: keep the words that stand at least so many times in the training texts.
    """

    def __init__(
        self,
        *,
        lowercase: bool = True,
        max_tokens: Annotated[int, Ge(1)] = 512,
        max_vocabulary: Annotated[int, Ge(1)] | None = 50_000,
        min_count: Annotated[int, Ge(1)] = 2,
    ) -> None:
        self.lowercase = lowercase
        self.max_tokens = max_tokens
        self.max_vocabulary = max_vocabulary
        self.min_count = min_count

    def fit(self, texts: Sequence[str]) -> FittedWords:
        """Count the words of the training texts, cut ones up to where they are cut."""
        counts: Counter[str] = Counter()
        n_cut = n_empty = 0
        for text in texts:
            words = split_words(text, lowercase=self.lowercase)
            n_cut += len(words) > self.max_tokens
            n_empty += not words
            counts.update(words[: self.max_tokens])
        frequent = [(word, count) for word, count in counts.items() if count >= self.min_count]
        frequent.sort(key=lambda pair: (-pair[1], pair[0]))
        kept = dict(frequent[: self.max_vocabulary])
        notes = [
            _vocabulary_note(counts, kept),
            *cut_note(n_cut, len(texts), self.max_tokens),
            *empty_note(n_empty, len(texts)),
        ]
        return FittedWords(list(kept), lowercase=self.lowercase, max_tokens=self.max_tokens, notes=notes)


def _vocabulary_note(counts: Mapping[str, int], kept: Mapping[str, int]) -> str:
    known = sum(kept.values()) / max(sum(counts.values()), 1)
    return (
        f"The vocabulary has {len(kept)} of the {len(counts)} different words in the training texts; "
        f"{1 - known:.1%} of the words there are unknown to it."
    )
