"""Temperature scaling: one number that mends the confidence of a model's own distribution."""

import math
import operator
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from mlc.calibration.base import Calibrator
from mlc.eager_optimizer import eager
from mlc.errors import UserError
from mlc.outputs.base import LabelOutput
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.label_sets import LabelSets
from mlc.outputs.levels import LabelLevels
from mlc.outputs.single_choice import SingleChoice

_BLOCK_CELLS = 2**21  # logits in float64 at a time: 16 MB, a few times over
MAX_TEMPERATURE = 100.0  # T is kept in [1 / MAX_TEMPERATURE, MAX_TEMPERATURE]
# Models whose distribution is made of logits that one temperature can divide.
HasTemperature = IndependentLabels | SingleChoice | LabelSets | LabelLevels


class Temperature(Calibrator):
    """Logits divided by one T > 0, which minimises the negative log-likelihood on validation data.

    The most probable set does not change, nor, for independent labels and a single choice, any ranking within
    an example. The likelihood is the model's own: of all known labels for IndependentLabels, of the one label
    for SingleChoice, of the whole set for LabelSets. Rows that the model calls impossible (none or several
    labels for SingleChoice, a set not seen in training for LabelSets) are left out. For LabelLevels it is the
    likelihood of which labels are there: the same T divides the logits of all levels, so presence and levels
    stay one model, and no label's most probable level changes (whether it is there can).

    T stays in [0.01, 100]: perfectly separated validation data would send it to 0 (the fit stops on the way,
    where the gradient is below 1e-10 nats), and scores that mislead to infinity. Without a usable row, or
    with logits that are all equal, T is 1.

    Args:
        n_labels: number of labels L.

    Source: Guo, Pleiss, Sun & Weinberger (2017), "On calibration of modern neural networks", section 4.2.
    Differs: their T is for a softmax; here the same T also divides every label's own logits.
    """

    def __init__(self, *, n_labels: int):
        super().__init__(n_labels=n_labels)
        self.register_buffer("temperature", torch.ones(()))
        self.temperature: Tensor

    def check(self, output: LabelOutput) -> None:
        """Raise UserError for an output without logits that one temperature could divide."""
        if not isinstance(output, HasTemperature):
            raise UserError(
                f"calibration=temperature divides the logits of IndependentLabels, SingleChoice, LabelSets "
                f"or LabelLevels, and {type(output).__name__} has none such: use calibration=platt"
            )

    def fit(self, output: LabelOutput, y_NL: Tensor, weight_N: Tensor | None = None) -> None:
        """Find T on validation outputs and targets."""
        assert isinstance(output, HasTemperature), "check() comes first"
        self.temperature.fill_(fit_temperature(output, y_NL, weight_N))

    def forward(self, output: LabelOutput) -> LabelOutput:
        """The same model with its logits divided by T."""
        assert isinstance(output, HasTemperature), "check() comes first"
        return _divided(output, self.temperature)


def fit_temperature(output: HasTemperature, y_NL: Tensor, weight_N: Tensor | None = None) -> float:
    """The T in [1 / MAX_TEMPERATURE, MAX_TEMPERATURE] that minimises the mean -log P(y | x; logits / T).

    The likelihood of wholly known rows is convex in 1/T (not of LabelLevels with more than two levels), so in
    log T it has one minimum. Beyond the bounds it is held at its value there and a parabola is added, which
    leads the line search back inside.
    """
    blocks = list(_usable_blocks(output.detach(), y_NL, weight_N))
    total = sum(float(block.weight_B.sum()) for block in blocks)
    if total == 0:
        return 1.0
    bound = math.log(MAX_TEMPERATURE)
    log_t = torch.zeros((), dtype=torch.float64, device=y_NL.device, requires_grad=True)
    optimizer = eager(torch.optim.LBFGS)(
        [log_t], max_iter=200, tolerance_grad=1e-10, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )

    def objective() -> Tensor:
        optimizer.zero_grad()
        beyond = log_t - log_t.clamp(-bound, bound)
        loss = beyond.square()
        loss.backward()
        for block in blocks:  # one after the other, so that memory does not grow with the rows
            part = block.loss(log_t.clamp(-bound, bound).exp()) / total
            part.backward()
            loss = loss.detach() + part.detach()
        return loss

    with torch.enable_grad():
        optimizer.step(objective)
    return math.exp(min(max(log_t.item(), -bound), bound))


class _Block(NamedTuple):
    """Some rows that count."""

    output: HasTemperature
    y_BL: Tensor
    weight_B: Tensor

    def loss(self, temperature: Tensor) -> Tensor:
        """Σ w -log P(y | x; logits / T), in float64."""
        return -(self.weight_B @ _log_prob(_divided(_double(self.output), temperature), self.y_BL.double()))


def _usable_blocks(output: HasTemperature, y_NL: Tensor, weight_N: Tensor | None) -> Iterator[_Block]:
    """The rows with a finite likelihood, a known label and a weight, a block after the other."""
    size = max(1, _BLOCK_CELLS // max(1, y_NL.shape[1]))
    for rows in (slice(start, start + size) for start in range(0, len(y_NL), size)):
        part, y_BL = output.map_tensors(operator.itemgetter(rows)), y_NL[rows]
        usable_B = _log_prob(_double(part), y_BL.double()).isfinite() & ~y_BL.isnan().all(1)
        weight_B = usable_B.double() if weight_N is None else usable_B * weight_N[rows].double()
        take = operator.itemgetter(weight_B > 0)
        yield _Block(part.map_tensors(take), take(y_BL), take(weight_B))


def _double(output: HasTemperature) -> HasTemperature:
    return output.map_tensors(Tensor.double)


def _divided(output: HasTemperature, temperature: Tensor) -> HasTemperature:
    """The model with its logits, the only tensor with a row for each example, divided by T."""
    return output.map_tensors(lambda logits: logits / temperature)


def _log_prob(output: HasTemperature, y_NL: Tensor) -> Tensor:
    """N log probabilities of which labels are there."""
    return (output.presence() if isinstance(output, LabelLevels) else output).log_prob(y_NL)
