"""Binary cross-entropy from logits; what weights and smoothing do to the probabilities is undone."""

import math
from typing import Annotated, Literal, cast

import torch
from annotated_types import Ge, Gt, Interval
from torch import Tensor
from torch.nn import functional as F

from mlc.batch import LabelStatistics
from mlc.errors import UserError
from mlc.losses.base import LabelLoss
from mlc.outputs.base import LabelOutput
from mlc.outputs.independent import IndependentLabels

# Fraction of the way to the last logit that a smoothed target can ask for, up to which p is inverted exactly.
_INVERTED = 1 - 1e-4


class BinaryCrossEntropy(LabelLoss):
    """-Σ_l a_l [w_l t_l log σ(z_l) + (1 - t_l) log(1 - σ(z_l))], t = (1 - s) y + s/2 (S3, S5).

    Args:
        labels: training label statistics.
        positive_weight: w, one number for every label, a list with one number per label, or "balanced":
            known negatives per positive of each label; 1 for a label that is never known.
        max_positive_weight: cap of the balanced weights, so that a label with two positives cannot rule.
        label_weight: a, "equal" for 1, or "balanced": in proportion to 1 / (positives of the label), mean 1;
            a label without positives weighs as much as the rarest that has some.
        label_smoothing: s, how far targets are moved towards ½.

    The optimum is logit(q) + log w with q = (1 - s) p + s/2, so `link` subtracts log w and solves for p:
    marginals stay probabilities and the ½ threshold keeps its meaning.

    Raises:
        UserError: a list of weights of the wrong length.
    """

    accepts = (IndependentLabels,)
    sums_over_labels = (IndependentLabels,)

    def __init__(
        self,
        *,
        labels: LabelStatistics,
        positive_weight: Annotated[float, Gt(0)] | Literal["balanced"] | list[Annotated[float, Gt(0)]],
        max_positive_weight: Annotated[float, Ge(1)],
        label_weight: Literal["equal", "balanced"],
        label_smoothing: Annotated[float, Interval(ge=0, lt=1)] = 0.0,  # older run folders do not have it
    ):
        super().__init__()
        self.label_smoothing = label_smoothing
        weight_L = _positive_weights(labels, positive_weight, max_positive_weight)
        self._weighs_positives = bool((weight_L != 1).any())
        self.register_buffer("positive_weight_L", weight_L.float(), persistent=False)
        share_L = _inverse_frequency(labels) if label_weight == "balanced" else torch.ones(labels.n_labels)
        self._weighs_labels = label_weight == "balanced"
        self.register_buffer("label_weight_L", (share_L / share_L.mean()).float(), persistent=False)
        self.positive_weight_L: Tensor
        self.label_weight_L: Tensor

    def per_label(self, output: LabelOutput, y_BL: Tensor) -> Tensor:
        """B×L losses in nats."""
        logits_BL = cast(IndependentLabels, output).logits_BL
        smoothing = self.label_smoothing
        target_BL = (1 - smoothing) * y_BL + smoothing / 2 if smoothing else y_BL
        return F.binary_cross_entropy_with_logits(
            logits_BL,
            target_BL,
            weight=self.label_weight_L if self._weighs_labels else None,
            pos_weight=self.positive_weight_L if self._weighs_positives else None,
            reduction="none",
        )

    def link(self, output: LabelOutput) -> LabelOutput:
        """Logits less log w, without the smoothing."""
        logits_BL = cast(IndependentLabels, output).logits_BL
        if self._weighs_positives:
            logits_BL = logits_BL - self.positive_weight_L.log()
        return IndependentLabels(_unsmoothed(logits_BL, self.label_smoothing))


def _positive_weights(
    labels: LabelStatistics, positive_weight: float | str | list[float], cap: float
) -> Tensor:
    """L weights w."""
    positives_L = labels.positives_L.clamp(min=1)
    if positive_weight == "balanced":
        ratio_L = ((labels.known_L - positives_L) / positives_L).clamp(1 / cap, cap)
        return torch.where(labels.known_L > 0, ratio_L, 1)
    if isinstance(positive_weight, list) and len(positive_weight) != labels.n_labels:
        raise UserError(
            f"loss.positive_weight has {len(positive_weight)} numbers, and the data have {labels.n_labels} "
            f"labels: give one number per label, one for all, or balanced"
        )
    return positives_L.new_tensor(positive_weight).expand(labels.n_labels)


def _unsmoothed(logits_BL: Tensor, smoothing: float) -> Tensor:
    """logit(p) where logits_BL = logit((1 - s) p + s/2).

    Such logits lie within ±c, c = log(2/s - 1), and there
    logit(p) = z + log(1 - exp(-(c + z))) - log(1 - exp(-(c - z))). A network can go beyond, where no p
    answers: from just inside ±c the line goes on with slope 1, so that p stays inside (0, 1) and the order
    is kept.
    """
    if smoothing == 0:
        return logits_BL
    edge = math.log(2 / smoothing - 1)
    inside_BL = logits_BL.clamp(-edge * _INVERTED, edge * _INVERTED)
    stretch_BL = _log1mexp(edge + inside_BL) - _log1mexp(edge - inside_BL)
    return logits_BL + stretch_BL


def _log1mexp(x: Tensor) -> Tensor:
    """log(1 - exp(-x)) for x > 0, to the last digit."""
    return (-torch.expm1(-x)).log()


def _inverse_frequency(labels: LabelStatistics) -> Tensor:
    """L values 1 / positives; a label without positives must not outweigh those that have some."""
    positives_L = labels.positives_L
    seen = positives_L[positives_L > 0]
    return 1 / positives_L.clamp(min=float(seen.min()) if len(seen) else 1.0)
