"""Calibrated labels: marginals fitted on validation data, over the model they were fitted for."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mlc.outputs.base import LabelOutput, register_pytree


@register_pytree
@dataclass(frozen=True, eq=False)
class CalibratedLabels(LabelOutput):
    """Marginals σ(c) from a per-label calibration; whatever is joint stays the model's own.

    The calibration speaks of each label alone, so it says nothing new about sets: count, log_prob and mode
    come from the model underneath, where it defines them.

    Args:
        logits_BL: calibrated logits c.
        base: the output that was calibrated.
    """

    logits_BL: Tensor
    base: LabelOutput

    def score_logits(self) -> Tensor:
        """The calibrated logits."""
        return self.logits_BL

    def scores(self) -> Tensor:
        """The calibrated marginals."""
        return torch.sigmoid(self.logits_BL)

    def marginals(self) -> Tensor:
        """σ(c)."""
        return torch.sigmoid(self.logits_BL)

    def cardinality(self) -> Tensor:
        """The model's own."""
        return self.base.cardinality()

    def expected_count(self) -> Tensor:
        """The model's own."""
        return self.base.expected_count()

    def log_prob(self, y_BL: Tensor) -> Tensor:
        """The model's own."""
        return self.base.log_prob(y_BL)

    def mode(self) -> Tensor:
        """The model's own."""
        return self.base.mode()

    @property
    def model(self) -> LabelOutput:
        """The output that was calibrated."""
        return self.base
