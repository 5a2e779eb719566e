"""Vector scaling: the temperature, which each label may leave as far as its own data say."""

from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor

from mlc.calibration.base import Calibrator
from mlc.calibration.examples import Cells, cell_weights, counts, standardised
from mlc.calibration.logistic_fit import fit_logistic
from mlc.calibration.platt import MIN_SLOPE
from mlc.calibration.temperature import fit_temperature
from mlc.errors import UserError
from mlc.outputs.base import LabelOutput
from mlc.outputs.independent import IndependentLabels

_BLOCK_CELLS = 2**21  # logits in float64 at a time: 16 MB, a few times over


class VectorScaling(Calibrator):
    """Logits a_l z + b_l of independent labels, drawn by a Gaussian prior to the shared a = 1/T, b = 0.

    A label with many examples gets its own slope and bias, as with Platt; one with few keeps the temperature
    of all. Unlike Platt the result is again IndependentLabels, so counts and label sets are calibrated, too.
    The prior is on slope and intercept of the standardised logits, so it does not depend on their scale.

    Args:
        n_labels: number of labels L.
        prior_deviation: standard deviation of the prior, in log-odds per standard deviation of the logits.

    Source: Guo, Pleiss, Sun & Weinberger (2017), "On calibration of modern neural networks", section 4.2.
    Differs: theirs is for a softmax and has no prior; T is fitted first. a_l is at least MIN_SLOPE per
        standard deviation, so calibration never reverses a ranking; `fallback_L` says where that was needed,
        or where a label has no positive or no negative.
    """

    def __init__(self, *, n_labels: int, prior_deviation: Annotated[float, Gt(0)]):
        super().__init__(n_labels=n_labels)
        self.prior_precision = 1 / prior_deviation**2
        self.register_buffer("slope_L", torch.ones(n_labels))
        self.register_buffer("bias_L", torch.zeros(n_labels))
        self.register_buffer("fallback_L", torch.zeros(n_labels, dtype=torch.bool))
        self.slope_L: Tensor
        self.bias_L: Tensor
        self.fallback_L: Tensor

    def check(self, output: LabelOutput) -> None:
        """Raise UserError for an output that is not IndependentLabels."""
        if not isinstance(output, IndependentLabels):
            raise UserError(
                f"calibration=vector scales the logits of IndependentLabels, and {type(output).__name__} has "
                f"none: use calibration=platt, isotonic or histogram"
            )

    def fit(self, output: LabelOutput, y_NL: Tensor, weight_N: Tensor | None = None) -> None:
        """Fit T, then every label's slope and bias, many labels at a time."""
        assert isinstance(output, IndependentLabels), "check() comes first"
        logits_NL = output.logits_BL.detach()
        shared_slope = 1 / fit_temperature(output, y_NL, weight_N)
        cells = Cells(logits_NL, *cell_weights(y_NL, weight_N))
        fits = [self._fit_block(block, shared_slope) for block in cells.blocks(cells=_BLOCK_CELLS)]
        for buffer, parts in zip(
            (self.slope_L, self.bias_L, self.fallback_L), zip(*fits, strict=True), strict=True
        ):
            buffer.copy_(torch.cat(parts))

    def forward(self, output: LabelOutput) -> IndependentLabels:
        """The same model with scaled logits."""
        assert isinstance(output, IndependentLabels), "check() comes first"
        return IndependentLabels(self.slope_L * output.logits_BL + self.bias_L)

    def _fit_block(self, cells: Cells, shared_slope: float) -> tuple[Tensor, Tensor, Tensor]:
        """Slope, bias and fallback of some labels, in float64."""
        s_NL, y_NL, weight_NL = cells
        z_NL, centre_L, deviation_L = standardised(s_NL, weight_NL)
        shared_L2 = torch.stack((shared_slope * deviation_L, shared_slope * centre_L), dim=1)
        w_L2 = fit_logistic(
            (z_NL,),
            y_NL,
            start_LP=shared_L2,
            free_LP=torch.ones_like(shared_L2, dtype=torch.bool),
            weight_NL=weight_NL,
            prior_precision_LP=torch.full_like(shared_L2, self.prior_precision),
        )
        is_one_sided_L = torch.minimum(*counts(y_NL, weight_NL)) == 0
        fallback_L = (w_L2[:, 0] < MIN_SLOPE) | is_one_sided_L
        slope_L = w_L2[:, 0].clamp(min=MIN_SLOPE) / deviation_L
        return slope_L, w_L2[:, 1] - slope_L * centre_L, fallback_L
