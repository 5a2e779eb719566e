"""Bag of word embeddings: fast, and hard to beat on short texts."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Literal

import torch
from annotated_types import Gt, Interval
from torch import Tensor, nn

from mlc.backbones.base import Backbone, dense_input
from mlc.backbones.texts import masked_mean, masked_sum, token_spec
from mlc.backbones.word_embedding import CharNgrams, WordEmbedding
from mlc.batch import BatchInput
from mlc.inputs import InputSpec


class EmbeddingBag(Backbone):
    """Mean or sum of the embeddings of a text's tokens, in any order; dense layers with ReLU may follow.

    Args:
        inputs: what is known of each input; the main one is a text.
        embedding: dimensions of the embedding of a token.
        char_ngrams: add to the embedding of a word the mean over its character n-grams, of these lengths from
            the shortest to the longest; null for none. See `WordEmbedding`.
        char_buckets: n-grams share so many vectors, by their hash.
        pooling: "mean" or "sum" over the tokens.
        token_dropout: share of the tokens that are left out at random in training.
        widths: units of each dense layer after that; none for fastText.
        dropout: dropout on the embedding of the text and after each dense layer.

    Raises:
        UserError: the main input is no text.

    Source: Joulin et al., "Bag of Tricks for Efficient Text Classification" (fastText, 2017);
        Iyyer et al., "Deep Unordered Composition Rivals Syntactic Methods for Text Classification" (2015),
        dense layers and leaving out tokens.
    Differs: no n-grams of words.
    """

    def __init__(
        self,
        *,
        inputs: Mapping[str, InputSpec],
        embedding: Annotated[int, Gt(0)],
        char_ngrams: CharNgrams | None,
        char_buckets: Annotated[int, Gt(0)],
        pooling: Literal["mean", "sum"],
        token_dropout: Annotated[float, Interval(ge=0, lt=1)],
        widths: list[Annotated[int, Gt(0)]],
        dropout: Annotated[float, Interval(ge=0, lt=1)],
    ):
        super().__init__()
        spec = token_spec(inputs, backbone="embedding_bag")
        self.padding = spec.padding
        self.embedding = WordEmbedding(spec, embedding, char_ngrams=char_ngrams, char_buckets=char_buckets)
        self.pool = masked_mean if pooling == "mean" else masked_sum
        self.token_dropout = token_dropout
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(fan_in, width), nn.ReLU(), nn.Dropout(dropout))
            for fan_in, width in pairwise([embedding, *widths])
        )
        names = [f"layer{i}" for i in range(1, len(widths) + 1)]
        self.feature_sizes = {
            "tokens": embedding,
            "embedding": embedding,
            **dict(zip(names, widths, strict=True)),
            "pooled": widths[-1] if widths else embedding,
        }

    def forward(self, inputs: Mapping[str, BatchInput]) -> dict[str, Tensor]:
        """The features of a batch of texts.

        Returns:
            "tokens" and "mask": the embedding of each token; "embedding": that of the text; "layer1", ...:
            what each dense layer gives; "pooled": the last of these.
        """
        tokens_BT = dense_input(inputs)
        mask_BT = tokens_BT != self.padding
        tokens_BTC = self.embedding(tokens_BT)
        x_BD = self.dropout(self.pool(tokens_BTC, self._kept(mask_BT)))
        features = {"tokens": tokens_BTC, "mask": mask_BT, "embedding": x_BD}
        for i, layer in enumerate(self.layers, start=1):
            x_BD = features[f"layer{i}"] = layer(x_BD)
        features["pooled"] = x_BD
        return features

    def _kept(self, mask_BT: Tensor) -> Tensor:
        if not self.training or not self.token_dropout:
            return mask_BT
        return mask_BT & (torch.rand(mask_BT.shape, device=mask_BT.device) >= self.token_dropout)
