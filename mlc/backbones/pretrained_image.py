"""A pretrained encoder of pictures, by transformers."""

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from annotated_types import Gt, Interval
from torch import Tensor, nn
from torch.nn import functional as F

from mlc.backbones.base import PretrainedBackbone, dense_input
from mlc.backbones.channels_last import ChannelsLast, laid_out
from mlc.backbones.layerwise import Frozen, freeze, rate_factors
from mlc.backbones.pretrained_model import build_model, load_weights, read_config
from mlc.batch import BatchInput
from mlc.errors import UserError
from mlc.inputs import MAIN, InputSpec, require_kind


class PretrainedImage(PretrainedBackbone):
    """A pretrained encoder of pictures: frozen, partly frozen or fine-tuned.

    Pictures are resized to the model's size. They come standardised by the data set's own mean and deviation,
    which stands for the model's. Unlike for texts, the model's config.json must still be where `model` says
    when a trained run is read back; its weights need not be.

    Args:
        inputs: what is known of each input; the main one is pictures.
        model: folder or huggingface.co name of the model.
        frozen: what does not learn: "none"; the "embeddings"; a number n for the embeddings and the n lowest
            layers; or "all", which then runs without dropout and with fixed running statistics, too.
        learning_rate_factor: learning rate of the top layer, relative to optimizer.lr, which is the head's.
        layer_decay: factor from the rate of each layer to that of the layer below; 1 for one rate.
        pooling: "mean" over the positions, or the first one, "cls", for models that have such a token.
        dropout: dropout on the features; that within the model is as its config says.
        channels_last: lay the pictures out with their channels last in memory, which changes nothing but
            time and rounding: True, False, or "auto" for CUDA in bf16 and fp16.

    Raises:
        UserError: the main input is no picture, the model cannot be read, or an option does not
            fit it.

    Source: Dosovitskiy et al., "An Image is Worth 16x16 Words" (ViT, 2021), and others of its interface.
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
        channels_last: ChannelsLast = "auto",  # older run folders do not have it
    ):
        super().__init__()
        self.channels_last = channels_last
        channels, *sides = require_kind(inputs[MAIN], "pictures", backbone="pretrained_image").shape
        tree = read_config(model)
        self.model, self.pooling = model, pooling
        self.channels = int(tree.get("num_channels", 3))
        if channels not in (1, self.channels):
            raise UserError(
                f"backbone.model={model} reads pictures of {self.channels} channels, and this data set has "
                f"{channels}: choose another model"
            )
        size = tree.get("image_size", sides)
        self.size = (size, size) if isinstance(size, int) else (size[0], size[1])
        self.all_frozen = frozen == "all"
        self.encoder = build_model(tree)
        freeze(self.encoder, frozen)
        self.learning_rate_factors = rate_factors(
            self.encoder, factor=learning_rate_factor, layer_decay=layer_decay, prefix="encoder"
        )
        self.dropout = nn.Dropout(dropout)
        width = int(tree["hidden_sizes"][-1] if "hidden_sizes" in tree else tree["hidden_size"])
        self.feature_sizes = {"tokens": width, "pooled": width}

    def load_pretrained(self) -> None:
        """Read the weights of the model.

        Raises:
            UserError: they cannot be read.
        """
        load_weights(self.encoder, self.model)

    def forward(self, inputs: Mapping[str, BatchInput]) -> dict[str, Tensor]:
        """The features of a batch of pictures.

        Returns:
            "tokens": the last hidden state of each position; "pooled": the pooled one, with dropout.
        """
        x_BCHW = laid_out(self._resized(dense_input(inputs)), self.channels_last, pays_on_cpu=False)
        if self.all_frozen:
            self.encoder.eval()
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.all_frozen):
            state = self.encoder(pixel_values=x_BCHW).last_hidden_state
        tokens_BTC: Tensor = (
            state.flatten(2).mT if state.ndim == 4 else state
        )  # a map has no token of its own
        pooled_BC = tokens_BTC.mean(1) if self.pooling == "mean" else tokens_BTC[:, 0]
        return {"tokens": tokens_BTC, "pooled": self.dropout(pooled_BC)}

    def _resized(self, x_BCHW: Tensor) -> Tensor:
        """As the model wants them: grey in all channels, and of its size."""
        x_BCHW = x_BCHW.expand(-1, self.channels, -1, -1)
        if x_BCHW.shape[2:] == self.size:
            return x_BCHW
        return F.interpolate(x_BCHW, size=self.size, mode="bilinear", antialias=True)
