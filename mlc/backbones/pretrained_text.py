"""A pretrained encoder of texts, by transformers."""

import json
from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from annotated_types import Gt, Interval
from torch import Tensor, nn

from mlc.backbones.base import PretrainedBackbone, dense_input
from mlc.backbones.layerwise import Frozen, freeze, rate_factors
from mlc.backbones.pretrained_model import build_model, load_weights
from mlc.backbones.texts import attended, masked_mean, token_spec
from mlc.batch import BatchInput
from mlc.errors import UserError
from mlc.inputs import InputSpec


class PretrainedText(PretrainedBackbone):
    """A pretrained encoder with its own tokens (text=pretrained): frozen, partly frozen or fine-tuned.

    Args:
        inputs: what is known of each input; the main one is a text in the tokens of the model, and brings
            the model's architecture.
        model: folder or huggingface.co name that the weights are read from when a new run starts.
        frozen: what does not learn: "none"; the "embeddings"; a number n for the embeddings and the n lowest
            layers; or "all", which then runs without dropout, too.
        learning_rate_factor: learning rate of the top layer, relative to optimizer.lr, which is the head's.
        layer_decay: factor from the rate of each layer to that of the layer below; 1 for one rate.
        pooling: "mean" over the tokens, or the first token, "cls".
        dropout: dropout on the features; that within the model is as its config says.

    Raises:
        UserError: the main input is no text in the tokens of a pretrained model, or an option does not
            fit it.

    Source: Devlin et al., "BERT" (2019); Reimers & Gurevych, "Sentence-BERT" (2019), the mean over tokens.
    """

    def __init__(
        self,
        *,
        inputs: Mapping[str, InputSpec],
        model: str,
        frozen: Frozen,
        learning_rate_factor: Annotated[float, Gt(0)],
        layer_decay: Annotated[float, Interval(gt=0, le=1)],
        pooling: Literal["mean", "cls"],
        dropout: Annotated[float, Interval(ge=0, lt=1)],
    ):
        super().__init__()
        spec = token_spec(inputs, backbone="pretrained_text")
        config = json.loads(spec.encoder or "null")
        if not isinstance(config, dict):  # words and other encoders have none
            raise UserError(
                "backbone=pretrained_text reads the tokens of a pretrained model: use text=pretrained"
            )
        self.model, self.pooling, self.padding = model, pooling, spec.padding
        self.all_frozen = frozen == "all"
        self.encoder = build_model(config)
        freeze(self.encoder, frozen)
        self.learning_rate_factors = rate_factors(
            self.encoder, factor=learning_rate_factor, layer_decay=layer_decay, prefix="encoder"
        )
        self.dropout = nn.Dropout(dropout)
        size = int(self.encoder.config.hidden_size)  # type: ignore[arg-type, union-attr]
        self.feature_sizes = {"tokens": size, "pooled": size}

    def load_pretrained(self) -> None:
        """Read the weights of the model.

        Raises:
            UserError: they cannot be read, or are those of another model.
        """
        load_weights(self.encoder, self.model)

    def forward(self, inputs: Mapping[str, BatchInput]) -> dict[str, Tensor]:
        """The features of a batch of texts.

        Returns:
            "tokens" and "mask": the last hidden state of each token; "pooled": the pooled one, with dropout.
        """
        ids_BT = dense_input(inputs)
        mask_BT = ids_BT != self.padding
        if self.all_frozen:
            self.encoder.eval()
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.all_frozen):
            output = self.encoder(input_ids=ids_BT, attention_mask=attended(mask_BT).long())
        tokens_BTC: Tensor = output.last_hidden_state
        pooled_BC = masked_mean(tokens_BTC, mask_BT) if self.pooling == "mean" else tokens_BTC[:, 0]
        return {"tokens": tokens_BTC, "mask": mask_BT, "pooled": self.dropout(pooled_BC)}
