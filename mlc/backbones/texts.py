"""What backbones for texts share: pooling that leaves padding out."""

from collections.abc import Mapping

from torch import Tensor

from mlc.inputs import MAIN, InputSpec, require_kind


def token_spec(inputs: Mapping[str, InputSpec], *, backbone: str) -> InputSpec:
    """What is known of the main input, if it is a text.

    Raises:
        UserError: it is none.
    """
    return require_kind(inputs[MAIN], "tokens", backbone=backbone)


def attended(mask_BT: Tensor) -> Tensor:
    """The same mask, but a text of padding alone keeps its first position: attention to nothing is NaN."""
    mask_BT = mask_BT.clone()
    mask_BT[:, 0] |= ~mask_BT.any(1)
    return mask_BT


def masked_sum(tokens_BTC: Tensor, mask_BT: Tensor) -> Tensor:
    """B×C sums over the positions that are no padding."""
    return tokens_BTC.masked_fill(~mask_BT[..., None], 0.0).sum(1)


def masked_mean(tokens_BTC: Tensor, mask_BT: Tensor) -> Tensor:
    """B×C means over the positions that are no padding; 0 where there is none."""
    return masked_sum(tokens_BTC, mask_BT) / mask_BT.sum(1, keepdim=True).clamp(min=1)


def attention_mean(tokens_BTC: Tensor, score_BT1: Tensor, mask_BT: Tensor) -> Tensor:
    """B×C means over the positions that are no padding, weighted by the softmax of their scores."""
    score_BT1 = score_BT1.masked_fill(~mask_BT[..., None], float("-inf"))
    return (score_BT1.softmax(1) * tokens_BTC).sum(1)


def masked_max(tokens_BTC: Tensor, mask_BT: Tensor) -> Tensor:
    """B×C largest values over the positions that are no padding; 0 where there is none."""
    largest_BC = tokens_BTC.masked_fill(~mask_BT[..., None], float("-inf")).amax(1)
    return largest_BC.masked_fill(~mask_BT.any(1)[:, None], 0.0)
