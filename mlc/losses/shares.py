"""The target distribution y / n that share losses compare with."""

from torch import Tensor
from torch.nn import functional as F


def share_cross_entropy(logits_BL: Tensor, y_BL: Tensor) -> Tensor:
    """B cross-entropies -Σ_l (y_l / n) log softmax(z)_l in nats; 0, without gradient, where n = 0."""
    n_B1 = y_BL.sum(1, keepdim=True)
    return -(y_BL / n_B1.clamp(min=1) * F.log_softmax(logits_BL, dim=1)).sum(1)
