"""Where a loss sends an output: the raw tensors that minimise its expectation, found without its formulas."""

from collections.abc import Callable

import numpy as np
import torch
from scipy.optimize import minimize, minimize_scalar
from torch import Tensor

from mlc.losses.base import Loss
from mlc.outputs.base import LabelOutput
from mlc.outputs.independent import IndependentLabels

# Large enough that the optimum of every p below lies inside, for every positive weight in use.
LOGIT_RANGE = (-30.0, 30.0)


def optimal_logits(loss: Loss, p_L: list[float]) -> Tensor:
    """1×L float64 logits that minimise p · loss(y=1) + (1-p) · loss(y=0), label by label."""
    return torch.tensor([[_optimal_logit(loss, label, p, len(p_L)) for label, p in enumerate(p_L)]]).double()


def _optimal_logit(loss: Loss, label: int, p: float, n_labels: int) -> float:
    y_2L = torch.zeros(2, n_labels, dtype=torch.float64)
    y_2L[1, label] = 1
    chance_2 = torch.tensor([1 - p, p], dtype=torch.float64)

    def expected(z: float) -> float:
        logits_2L = torch.zeros(2, n_labels, dtype=torch.float64)
        logits_2L[:, label] = z
        return (loss(IndependentLabels(logits_2L), y_2L) @ chance_2).item()

    # A coarse grid first: a loss that is flat somewhere must not stop the search there.
    grid = np.linspace(*LOGIT_RANGE, 241)
    best = min(range(1, 240), key=lambda i: expected(grid[i]))
    around = (grid[best - 1], grid[best + 1])
    return float(minimize_scalar(expected, bounds=around, method="bounded", options={"xatol": 1e-9}).x)


def optimal_raw(
    loss: Loss, build: Callable[[Tensor], LabelOutput], size: int, sets_SL: Tensor, chance_S: Tensor
) -> Tensor:
    """Raw float64 tensor of `size` numbers that minimises the expected loss over label sets.

    Args:
        build: makes the output of S identical rows from an S×size raw tensor.
        sets_SL: the label sets.
        chance_S: their probabilities.
    """

    def value_and_gradient(raw: np.ndarray) -> tuple[float, np.ndarray]:
        raw_D = torch.from_numpy(raw).requires_grad_()
        value = loss(build(raw_D.expand(len(sets_SL), size)), sets_SL) @ chance_S
        value.backward()
        assert raw_D.grad is not None
        return value.item(), raw_D.grad.numpy().copy()

    found = minimize(value_and_gradient, np.full(size, 0.5), jac=True, method="BFGS", options={"gtol": 1e-10})
    return torch.from_numpy(found.x)
