"""Which parameters learn, and how fast relative to the optimiser's learning rate."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from mlc.model import Network

MakeOptimizer = Callable[[Iterable[Any]], torch.optim.Optimizer]


def make_optimizer(make: MakeOptimizer, network: Network) -> torch.optim.Optimizer:
    """The optimiser of the parameters that are not frozen, each group at its own learning rate.

    A group has "initial_lr", the rate that the schedule multiplies.

    Args:
        make: from parameters (or groups of them) to an optimiser.
        network: its backbone says by `learning_rate_factors` which parameters learn more slowly.
    """
    factors = {f"backbone.{name}": f for name, f in network.backbone.learning_rate_factors.items()}
    by_factor: defaultdict[float, list[nn.Parameter]] = defaultdict(list)
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            by_factor[factors.get(name, 1.0)].append(parameter)
    optimizer = make([{"params": parameters} for parameters in by_factor.values()])
    for group, factor in zip(optimizer.param_groups, by_factor, strict=True):
        group["lr"] *= factor
        group["initial_lr"] = group["lr"]
    return optimizer
