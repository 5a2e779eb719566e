"""One network per label: how much faster is training all of them together?

    python -m benchmarks.label_networks

Data of yeast's shape (1500 rows, 103 features, 14 labels), an MLP with two hidden layers per label, batches
of 64, Adam. The ways see the same batches from the same start and must end with the same logits:

    together    head=label_networks: stacked weights, one batched matrix product per layer
    loop        one plain nn.Sequential after the other
    vmap        the plain nn.Sequential under torch.func.vmap

Times are interleaved: every repeat runs each way once, and a ratio is the median of the repeats' own ratios.
On one CPU thread and at width 256 three quarters of the time of "together" is matrix products at the
machine's peak: what it saves is the rest of the loop. The narrower the networks, the more that is.
"""

import argparse
import copy
import json
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F

from mlc.batch import LabelStatistics
from mlc.heads.label_networks import LabelNetworks
from mlc.outputs.independent import IndependentLabels

ROWS, FEATURES, LABELS = 1500, 103, 14
BATCH, LEARNING_RATE = 64, 2e-3

Way = Callable[[LabelNetworks, Tensor, Tensor, int], Tensor]


def batches(rows: int, epochs: int) -> Iterator[Tensor]:
    """Row numbers of every batch, shuffled anew each epoch, the same at every call."""
    for epoch in range(epochs):
        order_N = torch.randperm(rows, generator=torch.Generator().manual_seed(epoch))
        yield from order_N.split(BATCH)


def train(
    parameters: Iterable[Tensor], logits: Callable[[Tensor], Tensor], x_ND: Tensor, y_NL: Tensor, epochs: int
) -> None:
    """Fit the logits of a batch to its targets: cross-entropy summed over the labels."""
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=True)
    for rows_B in batches(len(x_ND), epochs):
        loss_BL = F.binary_cross_entropy_with_logits(logits(x_ND[rows_B]), y_NL[rows_B], reduction="none")
        optimizer.zero_grad()
        loss_BL.sum(1).mean().backward()
        optimizer.step()


def together(head: LabelNetworks, x_ND: Tensor, y_NL: Tensor, epochs: int) -> Tensor:
    """As the project trains them."""
    head = copy.deepcopy(head)

    def logits(x_BD: Tensor) -> Tensor:
        output: IndependentLabels = head(x_BD)
        return output.logits_BL

    train(head.parameters(), logits, x_ND, y_NL, epochs)
    return logits(x_ND).detach()


def loop(head: LabelNetworks, x_ND: Tensor, y_NL: Tensor, epochs: int) -> Tensor:
    """One after the other."""
    networks = [head.single(label) for label in range(LABELS)]
    for label, network in enumerate(networks):
        train(network.parameters(), network, x_ND, y_NL[:, label : label + 1], epochs)
    return torch.cat([network(x_ND) for network in networks], dim=1).detach()


def under_vmap(head: LabelNetworks, x_ND: Tensor, y_NL: Tensor, epochs: int) -> Tensor:
    """The plain network, mapped over its stacked parameters."""
    networks = [head.single(label) for label in range(LABELS)]
    parameters, buffers = stack_module_state(networks)
    template: nn.Module = networks[0]

    def one(parameters: dict[str, Tensor], x_BD: Tensor) -> Tensor:
        logits_B1: Tensor = functional_call(template, (parameters, buffers), (x_BD,))
        return logits_B1.squeeze(1)

    every = vmap(one, in_dims=(0, None), out_dims=1)
    train(parameters.values(), lambda x_BD: every(parameters, x_BD), x_ND, y_NL, epochs)
    return every(parameters, x_ND).detach()


def seconds(way: Way, head: LabelNetworks, x_ND: Tensor, y_NL: Tensor, epochs: int) -> float:
    """Wall time of a training."""
    start = time.perf_counter()
    way(head, x_ND, y_NL, epochs)
    if x_ND.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    """Check that the ways agree, time them, and print the medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="where the seconds are to be written")
    args = parser.parse_args()

    torch.manual_seed(0)
    x_ND = torch.randn(ROWS, FEATURES)
    y_NL = (x_ND @ torch.randn(FEATURES, LABELS) / FEATURES**0.5 + torch.randn(ROWS, LABELS) > 0.7).float()
    head = LabelNetworks(
        in_features=FEATURES,
        labels=LabelStatistics.from_targets(y_NL),
        widths=[args.width, args.width],
        dropout=0.0,
        norm="none",
        prior_bias=True,
    ).to(args.device)
    x_ND, y_NL = x_ND.to(args.device), y_NL.to(args.device)

    ways: dict[str, Way] = {"together": together, "loop": loop, "vmap": under_vmap}
    ends = {name: way(head, x_ND, y_NL, 1) for name, way in ways.items()}
    for name, logits_NL in ends.items():
        torch.testing.assert_close(logits_NL, ends["together"], rtol=0, atol=1e-3, msg=f"{name} differs")

    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(args.repeats):
        for name, way in ways.items():
            times[name].append(seconds(way, head, x_ND, y_NL, args.epochs))

    threads = torch.get_num_threads()
    print(
        f"{LABELS} networks of width {args.width}, {args.epochs} epochs, {args.device}, {threads} thread(s)"
    )
    for name, taken in times.items():
        ratio = median(own / best for own, best in zip(taken, times["together"], strict=True))
        print(f"{name:10} {median(taken):8.2f} s   {ratio:5.2f} x together")
    if args.json:
        medians_s = {name: median(taken) for name, taken in times.items()}
        args.json.write_text(json.dumps({"networks": LABELS, "seconds": medians_s}), encoding="utf-8")


if __name__ == "__main__":
    main()
