"""Bias values that make an untrained head predict the training frequencies."""

import torch
from torch import Tensor

from mlc.batch import LabelStatistics


def log_odds_of_frequency(labels: LabelStatistics) -> Tensor:
    """L logits of each label's training frequency, smoothed by half a row so that they stay finite."""
    frequency_L = (labels.positives_L + 0.5) / (labels.rows + 1)
    return torch.logit(frequency_L).float()


def log_share_of_labels(labels: LabelStatistics) -> Tensor:
    """L log shares of all training labels, smoothed by half a row, centred so that they stay small."""
    log_L = (labels.positives_L + 0.5).log()
    return (log_L - log_L.mean()).float()
