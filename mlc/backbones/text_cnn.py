"""Convolutions over the words of a text."""

from collections.abc import Mapping
from typing import Annotated

import torch
from annotated_types import Gt, Interval, Len
from torch import Tensor, nn
from torch.nn import functional as F

from mlc.backbones.base import Backbone, dense_input
from mlc.backbones.texts import token_spec
from mlc.backbones.word_embedding import CharNgrams, WordEmbedding
from mlc.batch import BatchInput
from mlc.errors import UserError
from mlc.inputs import InputSpec


class TextCNN(Backbone):
    """Finds phrases of several lengths, and keeps of each the place where it is found best.

    Args:
        inputs: what is known of each input; the main one is a text.
        embedding: dimensions of the embedding of a token.
        char_ngrams: add to the embedding of a word the mean over its character n-grams, of these lengths from
            the shortest to the longest; null for none. See `WordEmbedding`.
        char_buckets: n-grams share so many vectors, by their hash.
        windows: the lengths of the phrases, in tokens; each once.
        channels: phrases of each length.
        word_dropout: share of the words that training reads as the unknown word.
        embedding_dropout: dropout on the embeddings, each number by itself.
        channel_dropout: dropout of whole dimensions of the embeddings, the same for all words of a text.
        dropout: dropout on the features.

    Raises:
        UserError: the main input is no text, or a length of phrases stands there twice.

    Source: Kim, "Convolutional Neural Networks for Sentence Classification" (2014), the random variant.
    Differs: a phrase may hang over the ends of the text, so that a text may be shorter than a window; no
        bound on the norm of the last layer's weights.
    """

    def __init__(
        self,
        *,
        inputs: Mapping[str, InputSpec],
        embedding: Annotated[int, Gt(0)],
        char_ngrams: CharNgrams | None,
        char_buckets: Annotated[int, Gt(0)],
        windows: Annotated[list[Annotated[int, Gt(0)]], Len(1)],
        channels: Annotated[int, Gt(0)],
        word_dropout: Annotated[float, Interval(ge=0, lt=1)],
        embedding_dropout: Annotated[float, Interval(ge=0, lt=1)],
        channel_dropout: Annotated[float, Interval(ge=0, lt=1)],
        dropout: Annotated[float, Interval(ge=0, lt=1)],
    ):
        super().__init__()
        if len(set(windows)) < len(windows):
            raise UserError(f"backbone.windows={windows} has a length twice: raise backbone.channels instead")
        spec = token_spec(inputs, backbone="text_cnn")
        self.padding = spec.padding
        self.windows = windows
        self.embedding = WordEmbedding(
            spec,
            embedding,
            char_ngrams=char_ngrams,
            char_buckets=char_buckets,
            word_dropout=word_dropout,
            dropout=embedding_dropout,
            channel_dropout=channel_dropout,
        )
        self.convolutions = nn.ModuleList(nn.Conv1d(embedding, channels, window) for window in windows)
        self.dropout = nn.Dropout(dropout)
        self.feature_sizes = {
            **{f"window{window}": channels for window in windows},
            "tokens": channels * len(windows),
            "pooled": channels * len(windows),
        }

    def forward(self, inputs: Mapping[str, BatchInput]) -> dict[str, Tensor]:
        """The features of a batch of texts.

        Returns:
            "window3", ...: how well each phrase of that length is found; "tokens" and "mask": all phrases at
            each position; "pooled": all phrases, with dropout.
        """
        tokens_BT = dense_input(inputs)
        mask_BT = tokens_BT != self.padding
        x_BCT = self.embedding(tokens_BT).mT  # 0 at padding, as beyond the ends
        features, maps = {}, []
        for window, convolution in zip(self.windows, self.convolutions, strict=True):
            before = (window - 1) // 2
            map_BCT = convolution(F.pad(x_BCT, (before, window - 1 - before))).relu()
            maps.append(map_BCT.masked_fill(~mask_BT[:, None], 0.0))  # nothing is below 0 after ReLU
            features[f"window{window}"] = maps[-1].amax(2)
        pooled_BD = torch.cat(list(features.values()), dim=1)
        return {
            **features,
            "tokens": torch.cat(maps, dim=1).mT,
            "mask": mask_BT,
            "pooled": self.dropout(pooled_BD),
        }
