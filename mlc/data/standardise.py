"""Standardisation: the mean 0 and the standard deviation 1 of every column, fitted on the training rows."""

import torch
from torch import Tensor


def fit_standardisation(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and scale of every column of a table, or of every channel of pictures.

    Args:
        x: training rows, N×D or N×C×H×W.

    Returns:
        `mean` and `scale` (the standard deviation over N), D or C numbers in the dtype of x. The scale of a
        constant column is infinite: a model can learn nothing from such a column, so `standardise` makes it
        0 in every row, also in new rows where it is no longer constant.
    """
    over = [dim for dim in range(x.ndim) if dim != 1]
    variance, mean = torch.var_mean(x, dim=over, correction=0)
    # Rounding can give a constant column a tiny variance; its range is exactly 0.
    constant = x.amax(dim=over) == x.amin(dim=over)
    scale = variance.sqrt().masked_fill(constant, torch.inf)
    return mean, scale


def standardise(x: Tensor, *, mean: Tensor, scale: Tensor) -> Tensor:
    """The rows x (N×D or N×C×H×W) with `mean` taken away and divided by `scale`."""
    shape = (-1,) + (1,) * (x.ndim - 2)
    return (x - mean.view(shape)).div_(scale.view(shape))
