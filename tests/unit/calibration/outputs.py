"""Outputs and targets that the tests of calibrators share."""

import torch
from torch import Tensor

from mlc.outputs.base import LabelOutput
from mlc.outputs.conditional_bernoulli import ConditionalBernoulli
from mlc.outputs.counts import CategoricalCount, PointCount
from mlc.outputs.factorised import FactorisedCount
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.scores_only import ScoresOnly
from mlc.outputs.shares import LabelShares
from mlc.outputs.single_choice import SingleChoice


def scores_only(z_NL: Tensor) -> ScoresOnly:
    return ScoresOnly(z_NL, z_NL)


def sample(rows: int, n_labels: int, *, seed: int, slope: float = 1.0) -> tuple[Tensor, Tensor]:
    """Logits, and targets of probability σ(slope · logit - ½)."""
    g = torch.Generator().manual_seed(seed)
    z_NL = torch.randn(rows, n_labels, generator=g) * 1.5
    return z_NL, torch.bernoulli(torch.sigmoid(slope * z_NL - 0.5), generator=g)


def every_output(z_NL: Tensor) -> list[LabelOutput]:
    """One output of each kind."""
    return [*unit_outputs(z_NL), FactorisedCount(z_NL, PointCount(z_NL[:, 0].abs() + 0.1)), scores_only(z_NL)]


def unit_outputs(z_NL: Tensor) -> list[LabelOutput]:
    """The outputs whose scores lie in (0, 1)."""
    count = CategoricalCount(z_NL[:, :3])
    return [IndependentLabels(z_NL), SingleChoice(z_NL), LabelShares(z_NL), ConditionalBernoulli(z_NL, count)]


EXTREMES = torch.tensor([0.0, 1e-30, -1e-30, 30, -30, 1e4, -1e4, 1e30, -1e30])[:, None]
