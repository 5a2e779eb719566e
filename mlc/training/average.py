"""An exponential moving average of the weights, which is evaluated and saved in place of the weights."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mlc.model import Network


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
        self._decay = decay
        self._source = network
        self._steps = 0
        self.network = copy.deepcopy(network).requires_grad_(False)

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after a step."""
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        self._steps += 1
        averages: list[Tensor] = list(self.network.parameters())
        torch._foreach_lerp_(averages, list(self._source.parameters()), 1 - decay)
        self.take_buffers()

    @torch.no_grad()
    def take_buffers(self) -> None:
        """Take the network's buffers, such as the statistics of batch normalisation."""
        for own, buffer in zip(self.network.buffers(), self._source.buffers(), strict=True):
            own.copy_(buffer)

    def state(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {"network": self.network.state_dict(), "steps": self._steps}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take `state()` back."""
        self.network.load_state_dict(state["network"])
        self._steps = int(state["steps"])
