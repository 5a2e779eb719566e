"""One network per label, all trained in one batched program."""

from typing import Annotated, Literal

import torch
from annotated_types import Gt, Interval
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from mlc.batch import LabelStatistics
from mlc.heads.base import Head
from mlc.heads.priors import log_odds_of_frequency
from mlc.outputs.independent import IndependentLabels


class StackedLinear(nn.Module):
    """L linear layers side by side: layer l maps its own features.

    Args:
        fan_in: D, features that come in.
        fan_out: E, features that go out.
        generators: L random generators; layer l draws its start from the l-th, as nn.Linear does.
    """

    def __init__(self, *, fan_in: int, fan_out: int, generators: list[Generator]):
        super().__init__()
        bound = fan_in**-0.5

        def draw(*shape: int) -> Tensor:
            return torch.stack([torch.empty(shape).uniform_(-bound, bound, generator=g) for g in generators])

        self.weight_LDE = nn.Parameter(draw(fan_in, fan_out))
        self.bias_L1E = nn.Parameter(draw(1, fan_out))

    def forward(self, x_LBD: Tensor) -> Tensor:
        """L×B×E."""
        return torch.baddbmm(self.bias_L1E, x_LBD, self.weight_LDE)

    def single(self, label: int) -> nn.Linear:
        """One of the layers, with weights of its own."""
        _, fan_in, fan_out = self.weight_LDE.shape
        layer: nn.Linear = nn.utils.skip_init(nn.Linear, fan_in, fan_out, device=self.weight_LDE.device)
        with torch.no_grad():
            layer.weight.copy_(self.weight_LDE[label].T)
            layer.bias.copy_(self.bias_L1E[label, 0])
        return layer


class StackedLayerNorm(nn.Module):
    """L layer norms side by side.

    Args:
        width: D, features of each.
        n_labels: L.
    """

    def __init__(self, *, width: int, n_labels: int):
        super().__init__()
        self.weight_L1D = nn.Parameter(torch.ones(n_labels, 1, width))
        self.bias_L1D = nn.Parameter(torch.zeros(n_labels, 1, width))

    def forward(self, x_LBD: Tensor) -> Tensor:
        """L×B×D."""
        return torch.addcmul(self.bias_L1D, F.layer_norm(x_LBD, x_LBD.shape[2:]), self.weight_L1D)

    def single(self, label: int) -> nn.LayerNorm:
        """One of the norms, with weights of its own."""
        norm = nn.LayerNorm(self.weight_L1D.shape[2], device=self.weight_L1D.device)
        with torch.no_grad():
            norm.weight.copy_(self.weight_L1D[label, 0])
            norm.bias.copy_(self.bias_L1D[label, 0])
        return norm


class LabelNetworks(Head):
    """L independent multi-layer perceptrons, one per label, on the same input: binary relevance (S7).

    They share nothing. With a loss that is summed over labels and an optimiser that treats each number apart
    (Adam, SGD, ...), each learns exactly what it would learn alone from the same start in the same batches.
    Network l starts from a generator of its own, so its start does not depend on how many labels there are.

    Time and memory are in proportion to L. What the run decides, it decides for all of them: the best epoch,
    when to stop, and the norm at which gradients are clipped.

    Args:
        in_features: D.
        labels: training label statistics.
        widths: units of each hidden layer.
        dropout: dropout after each hidden layer.
        norm: "none", or "layer" for layer normalisation before each ReLU.
        prior_bias: start the last biases at the training frequencies.

    Source: one classifier per label as in Tsoumakas & Katakis, "Multi-Label Classification: An Overview"
        (2007), PT4.
    """

    def __init__(
        self,
        *,
        in_features: int,
        labels: LabelStatistics,
        widths: list[Annotated[int, Gt(0)]],
        dropout: Annotated[float, Interval(ge=0, lt=1)],
        norm: Literal["none", "layer"],
        prior_bias: bool,
    ):
        super().__init__()
        seed = int(torch.randint(2**62, ()))
        generators = [Generator().manual_seed(seed + label) for label in range(labels.n_labels)]
        layers: list[nn.Module] = []
        fan_in = in_features
        for width in widths:
            layers.append(StackedLinear(fan_in=fan_in, fan_out=width, generators=generators))
            if norm == "layer":
                layers.append(StackedLayerNorm(width=width, n_labels=labels.n_labels))
            layers.append(nn.ReLU(inplace=True))
            if dropout:
                layers.append(nn.Dropout(dropout))
            fan_in = width
        last = StackedLinear(fan_in=fan_in, fan_out=1, generators=generators)
        if prior_bias:
            with torch.no_grad():
                last.bias_L1E.copy_(log_odds_of_frequency(labels)[:, None, None])
        self.layers = nn.Sequential(*layers, last)
        self.n_labels = labels.n_labels

    def forward(self, features_BD: Tensor) -> IndependentLabels:
        """The logit of every network."""
        logits_LB1 = self.layers(features_BD.expand(self.n_labels, -1, -1))
        return IndependentLabels(logits_LB1.squeeze(2).T)

    def single(self, label: int) -> nn.Sequential:
        """One label's network as a plain module, B×D to B×1, with a copy of its present weights."""
        return nn.Sequential(*(_single(layer, label) for layer in self.layers))


def _single(layer: nn.Module, label: int) -> nn.Module:
    match layer:
        case StackedLinear() | StackedLayerNorm():
            return layer.single(label)
        case nn.Dropout():
            return nn.Dropout(layer.p)
        case _:
            return nn.ReLU()
