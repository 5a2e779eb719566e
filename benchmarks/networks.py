"""The networks of the workloads in plain PyTorch, as a person would write them for one script.

`mlc` builds the same layers from its configs; the number of parameters is printed at the start of its log.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.workloads import Workload


class Texts(nn.Module):
    """W4: words to an LSTM, whose last state feeds an auxiliary output and, with side inputs, the main."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10_000, 512, padding_idx=0)
        self.lstm = nn.LSTM(512, 32, batch_first=True)
        self.auxiliary = nn.Linear(32, 20)
        self.dense = nn.Sequential(
            nn.Linear(37, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU()
        )
        self.logits = nn.Linear(64, 20)

    def forward(self, x: Tensor, side: Tensor) -> tuple[Tensor, Tensor]:
        """Main and auxiliary logits."""
        _, (state, _) = self.lstm(self.embedding(x))
        return self.logits(self.dense(torch.cat([state[-1], side], dim=1))), self.auxiliary(state[-1])


class Words(nn.Module):
    """W5: a linear layer on sparse rows."""

    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(5_000, 4_000, mode="sum")
        self.bias = nn.Parameter(torch.zeros(4_000))

    def forward(self, x: Tensor, values: Tensor) -> Tensor:
        """Logits."""
        return self.bag(x, per_sample_weights=values) + self.bias


class Pooled(nn.Module):
    """The largest value of each channel."""

    def forward(self, x: Tensor) -> Tensor:
        """From B x C x H x W to B x C."""
        return x.amax((2, 3))


def make(workload: Workload) -> nn.Module:
    """The network of a workload, with the same start in every process."""
    torch.manual_seed(0)
    match workload.name:
        case "W1":
            return nn.Sequential(
                nn.Linear(103, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 14)
            )
        case "W2":
            layers: list[nn.Module] = [nn.Dropout(0.3)]
            for fan_in, width in ((500, 1_600), (1_600, 1_200), (1_200, 800)):
                layers += [nn.Linear(fan_in, width), nn.ReLU(), nn.Dropout(0.6)]
            return nn.Sequential(*layers, nn.Linear(800, 100))
        case "W3":
            return nn.Sequential(
                nn.Conv2d(1, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
                nn.Conv2d(32, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
                Pooled(), nn.Linear(64, 10),
            )  # fmt: skip
        case "W4":
            return Texts()
        case "W5":
            return Words()
    raise ValueError(workload.name)


def objective(logits: Tensor | tuple[Tensor, Tensor], y_BL: Tensor) -> Tensor:
    """Cross-entropy summed over labels, mean over rows; an auxiliary output weighs 0.2."""
    if isinstance(logits, tuple):
        return _entropy(logits[0], y_BL) + 0.2 * _entropy(logits[1], y_BL)
    return _entropy(logits, y_BL)


def _entropy(logits_BL: Tensor, y_BL: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits_BL, y_BL, reduction="sum") / len(y_BL)


def main_logits(logits: Tensor | tuple[Tensor, Tensor]) -> Tensor:
    """The logits that are evaluated."""
    return logits[0] if isinstance(logits, tuple) else logits
