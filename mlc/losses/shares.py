"""The target distribution y / n that share losses compare with."""

import torch
from torch import Tensor
from torch.nn import functional as F


def share_cross_entropy(logits_BL: Tensor, y_BL: Tensor, known_BL: Tensor) -> Tensor:
    """B cross-entropies -Σ_l (y_l / n) log softmax(z)_l in nats; 0, without gradient, where n = 0.

    Args:
        logits_BL: z.
        y_BL: 0 or 1, and 0 where unknown.
        known_BL: booleans; softmax and n are over the known labels of a row.
    """
    n_B1 = y_BL.sum(1, keepdim=True)
    # The lowest number, and not -inf: a row of nothing else has a softmax, and 0 times it is 0.
    known_logits_BL = logits_BL.masked_fill(~known_BL, torch.finfo(logits_BL.dtype).min)
    return -(y_BL / n_B1.clamp(min=1) * F.log_softmax(known_logits_BL, dim=1)).sum(1)
