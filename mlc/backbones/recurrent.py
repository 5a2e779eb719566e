"""Recurrent networks over the words of a text."""

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from annotated_types import Gt, Interval
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from mlc.backbones.base import Backbone, dense_input
from mlc.backbones.texts import attended, attention_mean, masked_max, masked_mean, token_spec
from mlc.backbones.word_embedding import CharNgrams, WordEmbedding
from mlc.batch import BatchInput
from mlc.inputs import InputSpec

Pooling = Literal["last", "max", "mean", "attention", "max_attention"]


class Recurrent(Backbone):
    """LSTM or GRU over the embeddings of a text's tokens, in one direction or both.

    Args:
        inputs: what is known of each input; the main one is a text.
        cell: "lstm" or "gru".
        embedding: dimensions of the embedding of a token.
        char_ngrams: add to the embedding of a word the mean over its character n-grams, of these lengths from
            the shortest to the longest; null for none. See `WordEmbedding`.
        char_buckets: n-grams share so many vectors, by their hash.
        width: units of each layer and direction.
        layers: number of layers.
        bidirectional: also read the text backwards, with as many units again.
        pooling: from the states to the features: the "last" state of each direction, their "max" or "mean"
            over the text, a mean weighted by learned "attention", or "max_attention", both side by side.
        word_dropout: share of the words that training reads as the unknown word.
        embedding_dropout: dropout on the embeddings, each number by itself.
        channel_dropout: dropout of whole dimensions of the embeddings, the same for all words of a text.
        dropout: dropout between the layers and on the features.

    Raises:
        UserError: the main input is no text.

    Source: Hochreiter & Schmidhuber, "Long Short-Term Memory" (1997); Cho et al., "Learning Phrase
        Representations using RNN Encoder-Decoder" (2014), GRU; Yang et al., "Hierarchical Attention Networks
        for Document Classification" (2016), attention over words.
    Differs: the attention scores a state by one linear map, without a hidden layer.
    """

    def __init__(
        self,
        *,
        inputs: Mapping[str, InputSpec],
        cell: Literal["lstm", "gru"],
        embedding: Annotated[int, Gt(0)],
        char_ngrams: CharNgrams | None,
        char_buckets: Annotated[int, Gt(0)],
        width: Annotated[int, Gt(0)],
        layers: Annotated[int, Gt(0)],
        bidirectional: bool,
        pooling: Pooling,
        word_dropout: Annotated[float, Interval(ge=0, lt=1)],
        embedding_dropout: Annotated[float, Interval(ge=0, lt=1)],
        channel_dropout: Annotated[float, Interval(ge=0, lt=1)],
        dropout: Annotated[float, Interval(ge=0, lt=1)],
    ):
        super().__init__()
        spec = token_spec(inputs, backbone=cell)
        self.padding = spec.padding
        self.pooling = pooling
        self.embedding = WordEmbedding(
            spec,
            embedding,
            char_ngrams=char_ngrams,
            char_buckets=char_buckets,
            word_dropout=word_dropout,
            dropout=embedding_dropout,
            channel_dropout=channel_dropout,
        )
        self.cells = (nn.LSTM if cell == "lstm" else nn.GRU)(
            embedding,
            width,
            num_layers=layers,
            bidirectional=bidirectional,
            batch_first=True,
            dropout=dropout if layers > 1 else 0.0,  # torch warns of a dropout between layers of one
        )
        size = width * (2 if bidirectional else 1)
        # Without bias: softmax does not see what is added to all scores.
        self.score = nn.Linear(size, 1, bias=False) if pooling.endswith("attention") else None
        self.dropout = nn.Dropout(dropout)
        pooled = 2 * size if pooling == "max_attention" else size
        self.feature_sizes = {"tokens": size, "last": size, "pooled": pooled}

    def forward(self, inputs: Mapping[str, BatchInput]) -> dict[str, Tensor]:
        """The features of a batch of texts.

        Returns:
            "tokens" and "mask": the states of the last layer, 0 at padding; "last": the state of each
            direction at its end; "pooled": what the pooling makes of them, with dropout.
        """
        tokens_BT = dense_input(inputs)
        mask_BT = tokens_BT != self.padding
        x_BTC = self.embedding(tokens_BT)
        length_B = attended(mask_BT).sum(1).cpu()
        if int(length_B.min()) == tokens_BT.shape[1]:  # packing costs, and there is no padding to leave out
            states_BTC, end = self.cells(x_BTC)
        else:
            packed = pack_padded_sequence(x_BTC, length_B, batch_first=True, enforce_sorted=False)
            states, end = self.cells(packed)
            states_BTC, _ = pad_packed_sequence(states, batch_first=True, total_length=tokens_BT.shape[1])
        end_SBW = end[0] if isinstance(end, tuple) else end  # S: layers times directions; LSTM adds its cells
        directions = 2 if self.cells.bidirectional else 1
        last_BC = torch.cat(list(end_SBW[-directions:]), dim=1)
        pooled_BC = self._pooled(states_BTC, mask_BT, last_BC)
        return {"tokens": states_BTC, "mask": mask_BT, "last": last_BC, "pooled": self.dropout(pooled_BC)}

    def _pooled(self, states_BTC: Tensor, mask_BT: Tensor, last_BC: Tensor) -> Tensor:
        if self.pooling == "last":
            return last_BC
        mask_BT = attended(mask_BT)
        if self.pooling == "mean":
            return masked_mean(states_BTC, mask_BT)
        pooled = []
        if self.pooling.startswith("max"):
            pooled.append(masked_max(states_BTC, mask_BT))
        if self.score is not None:
            pooled.append(attention_mean(states_BTC, self.score(states_BTC), mask_BT))
        return torch.cat(pooled, dim=1)
