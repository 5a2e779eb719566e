"""Small transformer encoder for texts, trained from scratch."""

import math
from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from annotated_types import Gt, Interval
from torch import Tensor, nn

from mlc.backbones.base import Backbone, dense_input
from mlc.backbones.texts import attended, masked_max, masked_mean, token_spec
from mlc.backbones.word_embedding import CharNgrams, WordEmbedding
from mlc.batch import BatchInput
from mlc.errors import UserError
from mlc.inputs import InputSpec


class Transformer(Backbone):
    """Self-attention and dense layers, each after a layer norm, over the embeddings of a text's tokens.

    Args:
        inputs: what is known of each input; the main one is a text.
        width: dimensions of every token.
        char_ngrams: add to the embedding of a word the mean over its character n-grams, of these lengths from
            the shortest to the longest; null for none. See `WordEmbedding`.
        char_buckets: n-grams share so many vectors, by their hash.
        layers: number of layers.
        heads: attention heads; they divide the width.
        feed_forward: units between the two dense maps of a layer.
        positions: "learned", one vector per place up to the longest text, or "sinusoidal".
        pooling: "mean" or "max" over the tokens, or "cls", a learned token of its own before the text.
        word_dropout: share of the words that training reads as the unknown word.
        dropout: dropout on the embeddings, within the layers and on the features.

    Raises:
        UserError: the main input is no text, or the width cannot be divided as asked.

    Source: Vaswani et al., "Attention Is All You Need" (2017); Xiong et al., "On Layer Normalization in the
        Transformer Architecture" (2020), the norm before each part; Devlin et al., "BERT" (2019), learned
        positions, GELU and the token of its own.
    """

    def __init__(
        self,
        *,
        inputs: Mapping[str, InputSpec],
        width: Annotated[int, Gt(0)],
        char_ngrams: CharNgrams | None,
        char_buckets: Annotated[int, Gt(0)],
        layers: Annotated[int, Gt(0)],
        heads: Annotated[int, Gt(0)],
        feed_forward: Annotated[int, Gt(0)],
        positions: Literal["learned", "sinusoidal"],
        pooling: Literal["mean", "max", "cls"],
        word_dropout: Annotated[float, Interval(ge=0, lt=1)],
        dropout: Annotated[float, Interval(ge=0, lt=1)],
    ):
        super().__init__()
        spec = token_spec(inputs, backbone="transformer")
        _check_width(width, heads, positions)
        self.padding = spec.padding
        self.pooling = pooling
        self.embedding = WordEmbedding(
            spec, width, char_ngrams=char_ngrams, char_buckets=char_buckets, word_dropout=word_dropout
        )
        self.class_C = nn.Parameter(torch.randn(width) * 0.02) if pooling == "cls" else None
        self.position_TC = (
            nn.Parameter(torch.randn(spec.shape[0], width) * 0.02) if positions == "learned" else None
        )
        self.dropout = nn.Dropout(dropout)
        layer = nn.TransformerEncoderLayer(
            width, heads, feed_forward, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        # Nested tensors would be an optimisation for the norm after each part only, and torch warns of it.
        self.layers = nn.TransformerEncoder(
            layer, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False
        )
        for parameter in self.layers.parameters():  # the layers are copies of one
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)
        self.feature_sizes = {"tokens": width, "pooled": width}

    def forward(self, inputs: Mapping[str, BatchInput]) -> dict[str, Tensor]:
        """The features of a batch of texts.

        Returns:
            "tokens" and "mask": each token after the last layer; "pooled": what the pooling makes of them,
            with dropout.
        """
        tokens_BT = dense_input(inputs)
        mask_BT = tokens_BT != self.padding
        x_BTC = self.embedding(tokens_BT) + self._positions(tokens_BT.shape[1])
        attended_BT = attended(mask_BT)
        if self.class_C is not None:
            x_BTC = torch.cat([self.class_C.expand(len(x_BTC), 1, -1), x_BTC], dim=1)
            attended_BT = torch.cat([mask_BT.new_ones(len(x_BTC), 1), mask_BT], dim=1)
        x_BTC = self.layers(self.dropout(x_BTC), src_key_padding_mask=~attended_BT)
        own = 0 if self.class_C is None else 1
        features = {"tokens": x_BTC[:, own:], "mask": mask_BT}
        if own:
            pooled_BC = x_BTC[:, 0]
        else:
            pool = masked_mean if self.pooling == "mean" else masked_max
            pooled_BC = pool(x_BTC, attended_BT)
        return {**features, "pooled": self.dropout(pooled_BC)}

    def _positions(self, length: int) -> Tensor:
        """T×C vectors of the places in a text."""
        if self.position_TC is not None:
            return self.position_TC[:length]
        width, device = self.embedding.width, self.embedding.weight.device
        rate_F = torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(10_000.0) / width))
        angle_TF = torch.arange(length, device=device)[:, None] * rate_F
        # As small as the embeddings start, which they would else drown.
        return 0.05 * torch.stack([angle_TF.sin(), angle_TF.cos()], dim=2).flatten(1)


def _check_width(width: int, heads: int, positions: str) -> None:
    if width % heads:
        raise UserError(
            f"backbone.width={width} cannot be divided into backbone.heads={heads}: choose a multiple"
        )
    if positions == "sinusoidal" and width % 2:
        raise UserError(f"backbone.positions=sinusoidal needs an even backbone.width, and it is {width}")
