"""Stratified splits: how long do they take, and how near do labels come to their shares?

    python benchmarks/stratification.py

Three ways deal the same rows into parts of 70, 10 and 20 %:

    ours     mlc.data.stratify: iterative stratification, all rows of a label at once
    classic  the same algorithm row by row, as the paper writes it (small data only)
    chance   a random split

"off" is the mean over labels and parts of |positives of the label in the part / positives - share of the
part|. Rare labels dominate it: of a label with three rows no split can have 70 %.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlc.data.positives import positives
from mlc.data.stratify import stratified_parts
from mlc.rows import LabelRows

SHARES = [0.7, 0.1, 0.2]

Parts = NDArray[np.int8]


def made_up(n_rows: int, n_labels: int, fewest: int, most: int) -> LabelRows:
    """Rows with some labels each, whose frequency falls like 1 / rank."""
    random = np.random.default_rng(0)
    frequency_L = 1 / np.arange(1, n_labels + 1)
    drawn_N = random.integers(fewest, most + 1, n_rows)
    labels = random.choice(n_labels, drawn_N.sum(), p=frequency_L / frequency_L.sum())
    pairs = np.unique(np.repeat(np.arange(n_rows), drawn_N) * n_labels + labels)
    lengths_N = np.bincount(pairs // n_labels, minlength=n_rows)
    starts_N = np.cumsum(lengths_N) - lengths_N
    ids_M = torch.from_numpy((pairs % n_labels).astype(np.int32))
    return LabelRows(ids_M, torch.from_numpy(starts_N), torch.from_numpy(lengths_N), n_labels)


def ours(y_NL: LabelRows) -> Parts:
    """As the project deals them."""
    return stratified_parts(y_NL, shares=SHARES, seed=0)


def chance(y_NL: LabelRows) -> Parts:
    """Without looking at labels."""
    return np.random.default_rng(0).choice(len(SHARES), len(y_NL), p=SHARES).astype(np.int8)


def classic(y_NL: LabelRows) -> Parts:
    """Algorithm 1 of Sechidis, Tsoumakas and Vlahavas (2011), row by row."""
    random = np.random.default_rng(0)
    there_NL: Tensor = y_NL[torch.arange(len(y_NL))] > 0
    there = there_NL.numpy()
    part_N = np.full(len(there), -1, dtype=np.int8)
    wanted_PL = np.outer(SHARES, there.sum(0))
    wanted_P = np.array(SHARES) * len(there)
    while len(left := np.flatnonzero(part_N < 0)):
        counts_L = there[left].sum(0)
        if not counts_L.any():
            part_N[left] = random.choice(len(SHARES), len(left), p=SHARES)
            break
        label = np.where(counts_L > 0, counts_L, len(there) + 1).argmin()
        for row in left[there[left, label]]:
            tied = np.flatnonzero(wanted_PL[:, label] == wanted_PL[:, label].max())
            tied = tied[wanted_P[tied] == wanted_P[tied].max()]
            part = part_N[row] = random.choice(tied)
            wanted_PL[part, there[row]] -= 1
            wanted_P[part] -= 1
    return part_N


def off(y_NL: LabelRows, part_N: Parts) -> float:
    """Mean absolute deviation of the labels' shares from the parts' shares."""
    rows, labels = positives(y_NL)
    counts_PL = np.zeros((len(SHARES), y_NL.n_labels))
    np.add.at(counts_PL, (part_N[rows], labels), 1)
    there_L = counts_PL.sum(0) > 0
    counts_PL = counts_PL[:, there_L]
    return float(np.abs(counts_PL / counts_PL.sum(0) - np.array(SHARES)[:, None]).mean())


def main() -> None:
    """Print a line for each size and way."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--labels-of-millions", type=int, default=1000, help="labels of the largest data")
    args = parser.parse_args()
    quick: list[Callable[[LabelRows], Parts]] = [ours, chance]
    sizes = [
        (made_up(5_000, 200, 0, 10), [*quick, classic]),
        (made_up(100_000, 1_000, 3, 20), quick),
        (made_up(2_000_000, args.labels_of_millions, 0, 9), quick),
    ]
    print(f"{'rows':>9}  {'labels':>6}  {'positives':>10}  way      {'seconds':>8}  {'off':>7}")
    for y_NL, ways in sizes:
        for way in ways:
            start_s = time.perf_counter()
            part_N = way(y_NL)
            taken_s = time.perf_counter() - start_s
            size = f"{len(y_NL):9,}  {y_NL.n_labels:6,}  {len(y_NL.ids_M):10,}"
            print(f"{size}  {way.__name__:7}  {taken_s:8.2f}  {100 * off(y_NL, part_N):5.2f} %")


if __name__ == "__main__":
    main()
