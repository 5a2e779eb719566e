"""Log-odds of a softmax, with all their digits."""

import torch
from torch import Tensor
from torch.nn import functional as F


def softmax_log_odds(logits_BL: Tensor) -> Tensor:
    """B×L log(p / (1 - p)) with p = softmax(z): z_l less the log-sum-exp of the other logits.

    log p alone is 0 in float32 for every label that leads by more than 17, so it would tie confident
    examples; the log-odds go on growing with the lead.
    """
    log_p_BL = F.log_softmax(logits_BL, dim=1)
    top_B1 = logits_BL.argmax(1, keepdim=True)
    # For all but the leading label p <= 1/2, where log(1 - p) is well conditioned.
    log_rest_BL = torch.log1p(-log_p_BL.exp().clamp(max=0.5))
    others_BL = log_p_BL.scatter(1, top_B1, -torch.inf)
    log_rest_BL = log_rest_BL.scatter(1, top_B1, others_BL.logsumexp(1, keepdim=True))
    return log_p_BL - log_rest_BL
