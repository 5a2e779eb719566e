"""The line: a plain PyTorch loop, tensors in memory, fused Adam; after each epoch it validates with F1.

With the word "loader" it reads through a DataLoader with the default collate instead, as most scripts do;
with "bf16" its layers run in bf16 by autocast.
"""

from collections.abc import Iterator
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from benchmarks import data, networks
from benchmarks.meter import Meter, count_torch_steps
from benchmarks.ways import arguments
from benchmarks.workloads import Tensors

LEARNING_RATE = 2e-3


def main() -> None:
    """Train until the meter ends the process."""
    given = arguments.read()
    workload, device = given.workload, given.device
    meter = Meter(workload, device)
    count_torch_steps(meter)
    splits = {
        name: {key: values.to(device) for key, values in tensors.items()}
        for name, tensors in data.load(workload, given.data).items()
    }
    network = networks.make(workload).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, fused=True)
    batches = through_loader if "loader" in given.rest else selected
    while True:
        network.train()
        for inputs, y_BL in batches(splits["train"], workload.batch):
            with torch.autocast(device, torch.bfloat16) if "bf16" in given.rest else nullcontext():
                logits = network(*inputs)
            loss = networks.objective(logits, y_BL)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        validate(network, splits["valid"])


def selected(train: Tensors, batch: int) -> Iterator[tuple[list[Tensor], Tensor]]:
    """Batches by selecting rows."""
    *inputs, y_NL = train.values()
    for rows_B in torch.randperm(len(y_NL), device=y_NL.device).split(batch):
        yield [values[rows_B] for values in inputs], y_NL[rows_B]


def through_loader(train: Tensors, batch: int) -> Iterator[tuple[list[Tensor], Tensor]]:
    """Batches by a DataLoader."""
    dataset = torch.utils.data.TensorDataset(*train.values())
    for *inputs, y_BL in torch.utils.data.DataLoader(dataset, batch_size=batch, shuffle=True):
        yield inputs, y_BL


@torch.no_grad()
def validate(network: nn.Module, valid: Tensors) -> tuple[float, float]:
    """Loss and micro-F1."""
    network.eval()
    *inputs, y_NL = valid.values()
    loss = torch.zeros((), device=y_NL.device)
    agree, there = torch.zeros_like(loss), torch.zeros_like(loss)
    for rows_B in torch.arange(len(y_NL), device=y_NL.device).split(1024):
        y_BL = y_NL[rows_B]
        logits = network(*(values[rows_B] for values in inputs))
        loss += networks.objective(logits, y_BL) * len(rows_B)
        decided_BL = (networks.main_logits(logits) > 0).float()
        agree += (decided_BL * y_BL).sum()
        there += decided_BL.sum() + y_BL.sum()
    return float(loss) / len(y_NL), float(2 * agree / there)


if __name__ == "__main__":
    main()
