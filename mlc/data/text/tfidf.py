"""Texts as weighted counts of words and of pieces of words, by scikit-learn."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import torch
from annotated_types import Ge, Len
from torch import Tensor

from mlc.data.text.encoder import FittedText, TextEncoder
from mlc.data.text.notes import empty_note
from mlc.data.text.packing import pack, unpack
from mlc.data.text.split_words import split_words
from mlc.errors import UserError
from mlc.rows import SparseRows

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import TfidfVectorizer

Ngrams = Annotated[list[Annotated[int, Ge(1)]], Len(2, 2)]


@dataclass(frozen=True)
class Counting:
    """How one block of columns is counted and weighted.

    Args:
        ngrams: the shortest and the longest run that is a column.
        of: words of two and more letters or digits; all tokens of `split_words`; or characters within words.
        lowercase, sublinear, norm, stop_words: see Tfidf.
    """

    ngrams: tuple[int, int]
    of: Literal["words", "tokens", "characters"]
    lowercase: bool
    sublinear: bool
    norm: Literal["l1", "l2"] | None
    stop_words: Literal["english"] | None = None

    def vectorizer(
        self, *, terms: Sequence[str] | None = None, min_count: int = 1, max_features: int | None = None
    ) -> "TfidfVectorizer":
        """scikit-learn's vectorizer, still to be fitted, or with the given terms as its columns."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        own = {"tokenizer": _tokens, "token_pattern": None} if self.of == "tokens" else {}
        return TfidfVectorizer(
            analyzer="char_wb" if self.of == "characters" else "word",
            ngram_range=tuple(self.ngrams),
            lowercase=self.lowercase,
            stop_words=None if self.of == "characters" else self.stop_words,
            sublinear_tf=self.sublinear,
            norm=self.norm,
            vocabulary=None if terms is None else dict(zip(terms, range(len(terms)), strict=True)),
            min_df=min_count,
            max_features=max_features,
            dtype=np.float32,
            **own,
        )


def _tokens(text: str) -> list[str]:
    return split_words(text, lowercase=False)  # the vectorizer has done that


@dataclass(frozen=True)
class Block:
    """Columns that were counted in one way.

    Args:
        counting: the way.
        terms: what each of the D columns counts.
        idf_D: their weights, higher for what fewer training texts have.
    """

    counting: Counting
    terms: Sequence[str]
    idf_D: Tensor

    def transform(self, texts: Sequence[str]) -> "csr_matrix":
        """N×D float32 numbers, bit for bit those of the vectorizer that was fitted."""
        vectorizer = self.counting.vectorizer(terms=self.terms)
        vectorizer.idf_ = self.idf_D.numpy()
        # scikit-learn refuses no texts at all.
        return vectorizer.transform(texts) if texts else vectorizer.transform([""])[:0]


class FittedTfidf(FittedText):
    """One or two blocks of columns, side by side.

    Args:
        blocks: the blocks.
        notes: sentences on the training texts.
    """

    KIND = "tfidf"

    def __init__(self, blocks: Sequence[Block], *, notes: Sequence[str] = ()) -> None:
        super().__init__(notes=notes)
        self.blocks = tuple(blocks)

    def encode(self, texts: Sequence[str]) -> SparseRows:
        """N texts as sparse numbers; a text without known terms has none."""
        from scipy.sparse import hstack

        x_ND = hstack([block.transform(texts) for block in self.blocks], format="csr")
        start_N = torch.from_numpy(x_ND.indptr.astype(np.int64))
        return SparseRows(
            ids_M=torch.from_numpy(x_ND.indices.astype(np.int32)),
            start_N=start_N[:-1],
            length_N=start_N.diff(),
            values_M=torch.from_numpy(x_ND.data),
            width=x_ND.shape[1],
        )

    def state(self) -> dict[str, Tensor]:
        """The terms and weights of every block."""
        state = {"kind": pack(self.KIND), "counting": pack([asdict(block.counting) for block in self.blocks])}
        for place, block in enumerate(self.blocks):
            state |= {f"terms{place}": pack(block.terms), f"idf{place}": block.idf_D}
        return state

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> "FittedTfidf":
        """The blocks that `state` gave."""
        return cls(
            [
                Block(Counting(**counting), unpack(state[f"terms{place}"]), state[f"idf{place}"])
                for place, counting in enumerate(unpack(state["counting"]))
            ]
        )


class Tfidf(TextEncoder):
    """Counts the words of a text, and of their neighbours and pieces, and weighs rare ones higher.

    What is counted comes from the training texts alone, as do the weights. The order of the words is lost but
    for the runs (n-grams). Words and pieces are scaled by `norm` each by themselves.

    Args:
        tokens: all, as text=words splits them, with one-letter words, signs and emoji; or only words, as
            scikit-learn splits them: two and more letters or digits.
        word_ngrams: the shortest and the longest run of words that is counted; null counts no words.
        char_ngrams: the same for runs of characters within words, which see through endings and slips; null
            counts none.
        min_count: keep what stands in at least so many training texts.
        max_features: of each kind keep the most frequent, at most so many; null keeps all.
        sublinear: a count n weighs as 1 + ln n.
        lowercase: read "The" as "the".
        stop_words: english leaves out scikit-learn's 318 English words that say little; null keeps all.
        norm: scale each text's numbers so that their squares (l2) or they themselves (l1) add up to 1; null
            leaves them.
    """

    def __init__(
        self,
        *,
        tokens: Literal["all", "words"] = "all",
        word_ngrams: Ngrams | None,
        char_ngrams: Ngrams | None,
        min_count: Annotated[int, Ge(1)] = 2,
        max_features: Annotated[int, Ge(1)] | None = 50_000,
        sublinear: bool = True,
        lowercase: bool = True,
        stop_words: Literal["english"] | None = None,
        norm: Literal["l1", "l2"] | None = "l2",
    ) -> None:
        if word_ngrams is None and char_ngrams is None:
            raise ValueError("word_ngrams and char_ngrams are both null: nothing would be counted")
        asked = {"tokens" if tokens == "all" else "words": word_ngrams, "characters": char_ngrams}
        self.countings = [
            Counting(_ordered(ngrams), of, lowercase, sublinear, norm, stop_words)  # type: ignore[arg-type]
            for of, ngrams in asked.items()
            if ngrams is not None
        ]
        self.min_count = min_count
        self.max_features = max_features

    def fit(self, texts: Sequence[str]) -> FittedTfidf:
        """Choose the columns and weigh them on the training texts.

        Raises:
            UserError: no word stands in enough texts.
        """
        blocks, n_terms_N = [], np.zeros(len(texts), dtype=np.int64)
        for counting in self.countings:
            vectorizer, x_ND = self._fit(counting, texts)
            n_terms_N += x_ND.getnnz(axis=1)
            terms = list(vectorizer.get_feature_names_out())
            blocks.append(Block(counting, terms, torch.from_numpy(vectorizer.idf_)))
        notes = [
            f"{len(block.terms)} different {_names(block.counting)} of the training texts are counted."
            for block in blocks
        ]
        n_empty = int((n_terms_N == 0).sum())
        return FittedTfidf(
            blocks,
            notes=notes + empty_note(n_empty, len(texts), one="has none of these", many="have none of these"),
        )

    def _fit(self, counting: Counting, texts: Sequence[str]) -> "tuple[TfidfVectorizer, csr_matrix]":
        vectorizer = counting.vectorizer(min_count=self.min_count, max_features=self.max_features)
        try:
            return vectorizer, vectorizer.fit_transform(texts)
        except ValueError as error:  # scikit-learn's word for: nothing found
            raise UserError(
                f"text=tfidf: none of the {_names(counting)} stands in {self.min_count} of the {len(texts)} "
                "training texts: lower text.min_count, or name the column that has the texts"
            ) from error


def _ordered(ngrams: Sequence[int]) -> tuple[int, int]:
    shortest, longest = ngrams
    if shortest > longest:
        raise ValueError(f"n-grams from {shortest} to {longest} are none: give the shorter length first")
    return shortest, longest


def _names(counting: Counting) -> str:
    shortest, longest = counting.ngrams
    if longest == 1:
        return counting.of
    lengths = f"{shortest}" if shortest == longest else f"{shortest} to {longest}"
    return f"runs of {lengths} {counting.of}"
