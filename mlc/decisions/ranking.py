"""The highest-scoring labels of each example."""

import torch
from torch import Tensor


def highest(scores_BL: Tensor, n_B: Tensor) -> Tensor:
    """B×L booleans: exactly the n highest scores of each row; of equal scores the first label wins.

    Args:
        scores_BL: scores.
        n_B: how many, each in 0..L.
    """
    order_BL = scores_BL.argsort(dim=1, descending=True, stable=True)
    places_L = torch.arange(scores_BL.shape[1], device=scores_BL.device)
    taken_BL = places_L < n_B[:, None]
    return torch.zeros_like(taken_BL).scatter(1, order_BL, taken_BL)
