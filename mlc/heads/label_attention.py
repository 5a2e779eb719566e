"""Label attention head: each label looks where it wants."""

from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor, nn
from torch.nn import functional as F

from mlc.batch import LabelStatistics
from mlc.errors import UserError
from mlc.heads.base import PositionHead
from mlc.heads.priors import log_odds_of_frequency
from mlc.outputs.independent import IndependentLabels


class LabelAttentionHead(PositionHead):
    """One learned query per label attends over the positions of a picture or text, and finds one logit.

    Args:
        in_features: C, channels of each position.
        labels: training label statistics.
        width: W, dimensions of queries, keys and values, of all heads together.
        heads: attention heads; they divide the width.
        prior_bias: start the biases at the training frequencies.

    Raises:
        UserError: the width cannot be divided by the number of heads.

    Source: Mullenbach et al., "Explainable Prediction of Medical Codes from Clinical Text" (CAML, 2018);
        Ridnik et al., "ML-Decoder: Scalable and Versatile Classification Head" (2023), one query per label.
    Differs: CAML has no maps to keys and values and one head; ML-Decoder adds a feed-forward layer and norms.
    """

    def __init__(
        self,
        *,
        in_features: int,
        labels: LabelStatistics,
        width: Annotated[int, Gt(0)],
        heads: Annotated[int, Gt(0)],
        prior_bias: bool,
    ):
        super().__init__()
        if width % heads:
            raise UserError(
                f"head.width={width} cannot be divided into head.heads={heads}: choose a multiple"
            )
        self.heads = heads
        self.queries_LW = nn.Parameter(torch.randn(labels.n_labels, width))
        self.keys = nn.Linear(in_features, width)
        self.values = nn.Linear(in_features, width)
        self.read_out_LW = nn.Parameter(torch.empty(labels.n_labels, width).uniform_(-1, 1) / width**0.5)
        self.bias_L = nn.Parameter(
            log_odds_of_frequency(labels) if prior_bias else torch.zeros(labels.n_labels)
        )

    def forward(self, features: Tensor, mask_BT: Tensor | None = None) -> IndependentLabels:
        """A logit of every label, from B×T×C positions; those where the mask is False are not looked at."""
        queries = self._split(self.queries_LW).expand(len(features), -1, -1, -1)
        keys, values = self._split(self.keys(features)), self._split(self.values(features))
        seen = F.scaled_dot_product_attention(queries, keys, values, attn_mask=_attended(mask_BT))
        seen_BLW = seen.transpose(-3, -2).flatten(-2)
        return IndependentLabels((seen_BLW * self.read_out_LW).sum(2) + self.bias_L)

    def _split(self, x: Tensor) -> Tensor:
        """...×W to ...×heads×n×W/heads, n being positions or labels."""
        parts: Tensor = x.unflatten(-1, (self.heads, -1))
        return parts.transpose(-3, -2)


def _attended(mask_BT: Tensor | None) -> Tensor | None:
    """Where to look, for each head and label alike; the first position where there is nothing to look at."""
    if mask_BT is None:
        return None
    mask_BT = mask_BT.clone()
    mask_BT[:, 0] |= ~mask_BT.any(1)
    return mask_BT[:, None, None]
