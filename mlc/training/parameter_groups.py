"""Which parameters learn, how fast relative to the optimiser's learning rate, and which of them decay."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import nn

from mlc.model import Network
from mlc.training.linear_state import keep_as_linear

MakeOptimizer = Callable[[Iterable[Any]], torch.optim.Optimizer]


def make_optimizer(
    make: MakeOptimizer, network: Network, *, weight_decay_on: Literal["matrices", "all"] = "all"
) -> torch.optim.Optimizer:
    """The optimiser of the parameters that are not frozen, each group at its own learning rate.

    A group has "initial_lr", the rate that the schedule multiplies.

    Args:
        make: from parameters (or groups of them) to an optimiser.
        network: its backbone says by `learning_rate_factors` which parameters learn more slowly.
        weight_decay_on: "matrices" spares parameters of fewer than two dimensions: biases, and the weights of
            normalisations. Where the optimiser has no weight decay, it makes no difference.
    """
    decays = bool(make([nn.Parameter(torch.zeros(1))]).param_groups[0].get("weight_decay"))
    spare = decays and weight_decay_on == "matrices"
    factors = {f"backbone.{name}": f for name, f in network.backbone.learning_rate_factors.items()}
    groups: defaultdict[tuple[float, bool], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            groups[factors.get(name, 1.0), spare and parameter.ndim < 2].append(parameter)
    optimizer = make([{"params": parameters} for parameters in groups.values()])
    for group, (factor, spared) in zip(optimizer.param_groups, groups, strict=True):
        group["lr"] *= factor
        group["initial_lr"] = group["lr"]
        if spared:
            group["weight_decay"] = 0.0
    keep_as_linear(optimizer, network)
    return optimizer
