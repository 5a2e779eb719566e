"""Logs of sums over those terms that are possible."""

import torch
from torch import Tensor


def log_sum_where(possible_BK: Tensor, log_terms_BK: Tensor) -> Tensor:
    """B logarithms of the sums of the possible terms; -inf, with gradient 0, where there is none.

    Args:
        possible_BK: booleans, which terms to sum.
        log_terms_BK: logs of the terms; -inf counts as not possible.
    """
    # Where all terms are -inf, the gradient of logsumexp is not a number: `where` keeps it from the terms.
    possible_BK = possible_BK & ~log_terms_BK.isneginf()
    return torch.where(possible_BK, log_terms_BK, -torch.inf).logsumexp(1)
