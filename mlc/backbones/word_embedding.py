"""What a word is to a network: a vector of its own and, if asked, one made of its pieces."""

import json
from typing import Annotated

import torch
from annotated_types import Ge, Len
from torch import Tensor, nn
from torch.nn import functional as F

from mlc.backbones.char_ngrams import ngram_rows
from mlc.errors import UserError
from mlc.inputs import InputSpec
from mlc.rows import SparseRows

CharNgrams = Annotated[list[Annotated[int, Ge(1)]], Len(2, 2)]
_BOUND = 0.05  # small, so that what a rare word started from does not outweigh what it has learned


class WordEmbedding(nn.Module):
    """The vector of every token, plus the mean of the vectors of its character n-grams.

    A rare word has learned little by itself; its pieces were learned from other words, too. Padding and the
    unknown word have no pieces. All vectors start uniform in ±0.05, but that of padding is 0 and stays it.

    Dropouts happen in training only, in this order: words, then numbers, then channels.

    Args:
        spec: what is known of the text. With n-grams, its encoder must list the words.
        width: dimensions C of the vectors.
        char_ngrams: the lengths of the shortest and the longest n-gram of `<word>`; None for none.
        char_buckets: n-grams share so many vectors, by their hash.
        word_dropout: share of the words that are read as the unknown word.
        dropout: share of the numbers that become 0, each by itself.
        channel_dropout: share of the dimensions that become 0 in a whole text.

    Raises:
        UserError: the text is not made of words that are known here.

    Source: Bojanowski et al., "Enriching Word Vectors with Subword Information" (fastText, 2017), n-grams;
        Dai & Le, "Semi-supervised Sequence Learning" (2015), word dropout; Tompson et al., "Efficient Object
        Localization Using Convolutional Networks" (2015), dropout of whole channels.
    Differs: the n-grams' mean is added to the word's own vector, where fastText takes the mean of all; the
        hash is CRC-32; an unknown word has no n-grams.
    """

    bucket_M: Tensor
    start_V: Tensor
    length_V: Tensor

    def __init__(
        self,
        spec: InputSpec,
        width: int,
        *,
        char_ngrams: CharNgrams | None = None,
        char_buckets: int = 1,
        word_dropout: float = 0.0,
        dropout: float = 0.0,
        channel_dropout: float = 0.0,
    ):
        super().__init__()
        self.padding, self.width = spec.padding, width
        self.unknown = _unknown(spec, word_dropout)
        self.word_dropout = word_dropout
        self.dropout, self.channel_dropout = nn.Dropout(dropout), nn.Dropout1d(channel_dropout)
        self.weight = nn.Parameter(torch.empty(spec.vocabulary, width).uniform_(-_BOUND, _BOUND))
        nn.init.zeros_(self.weight[spec.padding].detach())
        self.ngram_weight: nn.Parameter | None = None
        if char_ngrams is not None:
            rows = ngram_rows(_words(spec), _bounds(char_ngrams), char_buckets)
            # Made from the words again whenever the network is built, so they are not saved with it.
            self.register_buffer("bucket_M", rows.ids_M, persistent=False)
            self.register_buffer("start_V", rows.start_N, persistent=False)
            self.register_buffer("length_V", rows.length_N, persistent=False)
            self.ngram_weight = nn.Parameter(torch.empty(char_buckets, width).uniform_(-_BOUND, _BOUND))

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """B×T×C vectors of B×T tokens; 0 at padding."""
        tokens_BT = self._some_unknown(tokens_BT)
        x_BTC = F.embedding(tokens_BT, self.weight, padding_idx=self.padding)
        if self.ngram_weight is not None:
            x_BTC = x_BTC + self._of_ngrams(tokens_BT, self.ngram_weight)
        dropped_BTC: Tensor = self.channel_dropout(self.dropout(x_BTC).mT).mT
        return dropped_BTC

    def _some_unknown(self, tokens_BT: Tensor) -> Tensor:
        if not self.training or not self.word_dropout:
            return tokens_BT
        lost_BT = torch.rand(tokens_BT.shape, device=tokens_BT.device) < self.word_dropout
        return tokens_BT.masked_fill(lost_BT & (tokens_BT != self.padding), self.unknown)

    def _of_ngrams(self, tokens_BT: Tensor, weight_HC: Tensor) -> Tensor:
        """B×T×C means over the n-grams, each word of the batch looked up once; 0 without n-grams."""
        words_U, place_BT = tokens_BT.unique(return_inverse=True)
        rows = SparseRows(self.bucket_M, self.start_V, self.length_V, None, len(weight_HC))[words_U]
        mean_UC = F.embedding_bag(rows.ids_M.long(), weight_HC, rows.start_N, mode="mean")
        return F.embedding(place_BT, mean_UC)


def _unknown(spec: InputSpec, word_dropout: float) -> int:
    if spec.unknown is not None:
        return spec.unknown
    if word_dropout:
        raise UserError(
            f"backbone.word_dropout={word_dropout} reads words as the unknown word, and these tokens have "
            "none: use text=words, or set backbone.word_dropout=0"
        )
    return spec.padding  # never used


def _words(spec: InputSpec) -> list[str | None]:
    words = json.loads(spec.encoder or "null")
    if not isinstance(words, list):
        raise UserError(
            "backbone.char_ngrams takes words to pieces, and these tokens are not known as words: use "
            "text=words, or set backbone.char_ngrams=null"
        )
    return words


def _bounds(char_ngrams: list[int]) -> tuple[int, int]:
    shortest, longest = char_ngrams
    if shortest > longest:
        raise UserError(
            f"backbone.char_ngrams={char_ngrams} must name the shortest length and then the longest: set "
            f"backbone.char_ngrams=[{longest},{shortest}]"
        )
    return shortest, longest
