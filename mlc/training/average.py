"""An exponential moving average of the weights, which is evaluated and saved in place of the weights."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mlc.model import Network
from mlc.training.position import is_count


class WeightAverage:
    """The running average of a network's parameters; buffers are those of the network itself.

    After t steps the weights count with min(decay, (1 + t) / (10 + t)), so that a short run is not held
    back by its first weights.

    Source: Polyak & Juditsky, 1992; the warm-up is that of TensorFlow's ExponentialMovingAverage.

    Args:
        network: whose weights are averaged.
        decay: share of the old average in the new one, below 1.
    """

    def __init__(self, network: Network, *, decay: float):
        self._source = network
        self.network = copy.deepcopy(network).requires_grad_(False)
        device = next(iter(network.parameters())).device
        # On the device, because whether a step counts is known only there.
        self._decay = torch.tensor(decay, dtype=torch.float64, device=device)
        self._steps = torch.zeros((), dtype=torch.float64, device=device)

    @torch.no_grad()
    def update(self, left_out: Tensor | bool = False) -> None:
        """Take in the weights after a step; the host does not wait.

        Args:
            left_out: whether the step was left out, and so does not count: one bool, where the network is.
        """
        if left_out is True:
            return
        taken = 1 if left_out is False else 1 - torch.as_tensor(left_out).double()
        decay = torch.minimum(self._decay, (1 + self._steps) / (10 + self._steps))
        share = (1 - decay) * taken
        self._steps += taken
        averages: list[Tensor] = list(self.network.parameters())
        shares = {dtype: share.to(dtype) for dtype in {average.dtype for average in averages}}
        weights = [shares[average.dtype] for average in averages]
        torch._foreach_lerp_(averages, list(self._source.parameters()), weights)
        self.take_buffers()

    @torch.no_grad()
    def take_buffers(self) -> None:
        """Take the network's buffers, such as the statistics of batch normalisation."""
        for own, buffer in zip(self.network.buffers(), self._source.buffers(), strict=True):
            own.copy_(buffer)

    def state(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {"network": self.network.state_dict(), "steps": int(self._steps)}

    def restore(self, state: Mapping[str, Any], *, steps: int) -> None:
        """Take `state()` back, after so many steps of the run.

        Raises:
            ValueError: it is not the state of an average.
        """
        if not is_count(state["steps"], most=steps):
            raise ValueError(f"its average of the weights is one of {str(state['steps'])[:40]} steps")
        self.network.load_state_dict(state["network"])
        self._steps.fill_(state["steps"])
