"""Temperature scaling: one number that mends the confidence of a model's own marginals."""

import math

import torch
from torch import Tensor

from mlc.calibration.base import Calibrator
from mlc.errors import UserError
from mlc.outputs.base import LabelOutput
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.single_choice import SingleChoice

MAX_TEMPERATURE = 100.0  # T is kept in [1 / MAX_TEMPERATURE, MAX_TEMPERATURE]


class Temperature(Calibrator):
    """Logits divided by one T > 0, which minimises the negative log-likelihood on validation data.

    No ranking within an example changes, nor does the most probable set. The likelihood is the model's own:
    of all labels for IndependentLabels, of the one label for SingleChoice, where rows with none or several
    labels are left out. T stays in [0.01, 100]: perfectly separated validation data would send it to 0 (the
    fit stops on the way, where the gradient is below 1e-10 nats), and scores that mislead to infinity.
    Without a usable row, or with logits that are all equal, T is 1.

    Args:
        n_labels: number of labels L.

    Source: Guo, Pleiss, Sun & Weinberger (2017), "On calibration of modern neural networks", section 4.2.
    Differs: their T is for a softmax; for IndependentLabels the same T divides every label's logit.
    """

    def __init__(self, *, n_labels: int):
        super().__init__(n_labels=n_labels)
        self.register_buffer("temperature", torch.ones(()))
        self.temperature: Tensor

    def check(self, output: LabelOutput) -> None:
        """Raise UserError for an output that has no marginals of its own."""
        if not isinstance(output, IndependentLabels | SingleChoice):
            raise UserError(
                f"calibration=temperature divides the logits of IndependentLabels or SingleChoice, and "
                f"{type(output).__name__} has no marginals of its own: use calibration=platt"
            )

    def fit(self, output: LabelOutput, y_NL: Tensor) -> None:
        """Find T on validation outputs and targets."""
        assert isinstance(output, IndependentLabels | SingleChoice), "check() comes first"
        logits_NL, y_NL = output.logits_BL.detach().double(), y_NL.double()
        if isinstance(output, SingleChoice):
            usable_N = y_NL.sum(1) == 1
            logits_NL, y_NL = logits_NL[usable_N], y_NL[usable_N]
        fitted = fit_temperature(type(output), logits_NL, y_NL) if len(y_NL) else 1.0
        self.temperature.fill_(fitted)

    def forward(self, output: LabelOutput) -> LabelOutput:
        """The same model with its logits divided by T."""
        assert isinstance(output, IndependentLabels | SingleChoice), "check() comes first"
        return type(output)(output.logits_BL / self.temperature)


def fit_temperature(
    model: type[IndependentLabels] | type[SingleChoice], logits_NL: Tensor, y_NL: Tensor
) -> float:
    """The T in [1 / MAX_TEMPERATURE, MAX_TEMPERATURE] that minimises the mean -log P(y | x; logits / T).

    The likelihood is convex in 1/T, so in log T it has one minimum. Beyond the bounds it is held at its
    value there and a parabola is added, which leads the line search back inside.
    """
    bound = math.log(MAX_TEMPERATURE)
    log_t = torch.zeros((), dtype=torch.float64, device=logits_NL.device, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [log_t], max_iter=200, tolerance_grad=1e-10, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )

    def objective() -> Tensor:
        optimizer.zero_grad()
        inside = log_t.clamp(-bound, bound)
        nll = -model(logits_NL / inside.exp()).log_prob(y_NL).mean()
        loss = nll + (log_t - inside).square()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(objective)
    return math.exp(min(max(log_t.item(), -bound), bound))
