"""Bias values that make an untrained head predict the training frequencies.

Both are smoothed by half a row, so that they stay finite, and count only rows in which a label is known.
"""

import torch
from torch import Tensor

from mlc.batch import LabelStatistics


def log_odds_of_frequency(labels: LabelStatistics) -> Tensor:
    """L logits of each label's training frequency."""
    return torch.logit(_smoothed_frequency(labels)).float()


def log_share_of_labels(labels: LabelStatistics) -> Tensor:
    """L log frequencies, centred so that they stay small; softmax makes shares of all labels of them."""
    log_L = _smoothed_frequency(labels).log()
    return (log_L - log_L.mean()).float()


def _smoothed_frequency(labels: LabelStatistics) -> Tensor:
    return (labels.positives_L + 0.5) / (labels.known_L + 1)
