"""A sparse file with 2 million rows: does it load and train in bounded memory, and how fast?

    python benchmarks/large_sparse.py --folder <where a file of 0.5 GB may stay>

The file: 50,000 features of which each row has 20, 100 labels of which each row has 3; half of the
features of a row point to one of its labels. It is written once, always the same.

Four processes, each measured from outside as the largest resident memory that the kernel saw:

    torch    imports torch and mlc, and ends
    bare     trains as below on the first 2,000 rows: what a run takes without the data
    load     reads the file as `dataset=svmlight` does, splits it and looks for leaks
    train    python -m mlc.train dataset=svmlight backbone=mlp, with a hidden layer of 32 units, for one
             epoch, with all that a run does: validation, calibration, test metrics, figures

The memory above "torch" and above "bare" is compared with the CSR arrays of the file: int32 column and
float32 value of each entry and one int32 offset per row for the features, int32 label and one int32 offset
per row for the labels. The network (1.6 million weights), Adam's state and what the metrics need count too.
The calibrator is fitted on as many validation rows as trainer.memory_limit_mb allows; its fit takes about 15
times that.
"""

import argparse
import os
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np

FEATURES, LABELS = 50_000, 100
PER_ROW, LABELS_PER_ROW = 20, 3
AT_A_TIME = 20_000

FEW = 2_000

LOAD = """
import sys
from mlc.data.svmlight import Svmlight
dataset = Svmlight(path=sys.argv[1], split_by=sys.argv[2]).load(seed=0)
print({name: len(getattr(dataset, name)) for name in ("train", "valid", "test")})
"""


def write_file(path: Path, rows: int) -> None:
    """Write the file, unless it is there."""
    if path.is_file():
        return
    random = np.random.default_rng(0)
    part = path.with_suffix(".part")
    with part.open("w") as file:
        for start in range(0, rows, AT_A_TIME):
            file.writelines(_lines(random, min(AT_A_TIME, rows - start)))
    part.replace(path)


def _lines(random: np.random.Generator, rows: int) -> list[str]:
    # Each label and each feature of a row comes from a range of its own, so that none stands twice.
    range_of_labels = np.linspace(0, LABELS, LABELS_PER_ROW + 1).astype(int)
    skewed_BK = random.random((rows, LABELS_PER_ROW)) ** 2
    labels_BK = (range_of_labels[:-1] + skewed_BK * np.diff(range_of_labels)).astype(int)

    stripe = FEATURES // PER_ROW
    own = stripe // LABELS
    chosen_BM = random.integers(LABELS_PER_ROW, size=(rows, PER_ROW))
    telling_BM = np.take_along_axis(labels_BK, chosen_BM, axis=1) * own + random.integers(
        own, size=(rows, PER_ROW)
    )
    noise_BM = random.integers(stripe, size=(rows, PER_ROW))
    place_BM = np.where(random.random((rows, PER_ROW)) < 0.5, telling_BM, noise_BM)
    ids_BM = np.arange(PER_ROW) * stripe + place_BM
    values_BM = 1 - random.random((rows, PER_ROW))
    pattern = " ".join(["%d:%.4f"] * PER_ROW)
    lines = []
    for labels, ids, values in zip(labels_BK.tolist(), ids_BM.tolist(), values_BM.tolist(), strict=True):
        pairs = [number for pair in zip(ids, values, strict=True) for number in pair]
        lines.append(f"{','.join(map(str, labels))} {pattern % tuple(pairs)}\n")
    return lines


def csr_bytes(rows: int) -> int:
    """Bytes of the CSR arrays of features and labels."""
    features = rows * PER_ROW * (4 + 4) + (rows + 1) * 4
    labels = rows * LABELS_PER_ROW * 4 + (rows + 1) * 4
    return features + labels


def measure(command: list[str]) -> tuple[float, int]:
    """Seconds and largest resident memory in bytes of a process, which must end well."""
    start_s = time.perf_counter()
    process = subprocess.Popen([sys.executable, *command])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command[:3])} ended with {process.returncode}")
    return time.perf_counter() - start_s, usage.ru_maxrss * 1024  # Linux counts in KiB


def main() -> None:
    """Write the file, run the processes, and print what they took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--split-by", choices=["labels", "random"], default="random")
    parser.add_argument("--load-only", action="store_true")
    parser.add_argument("overrides", nargs="*", help="of the training run")
    args = parser.parse_args()

    args.folder.mkdir(parents=True, exist_ok=True)
    path = args.folder / f"large_sparse_{args.rows}.svm"
    start_s = time.perf_counter()
    write_file(path, args.rows)
    print(f"{path.stat().st_size / 1e6:.0f} MB of text ({time.perf_counter() - start_s:.0f} s to write)")

    few = args.folder / f"large_sparse_{FEW}.svm"
    with path.open("rb") as whole:
        few.write_bytes(b"".join(islice(whole, FEW)))

    def train(file: Path) -> list[str]:
        return [
            *("-m", "mlc.train", "dataset=svmlight", f"dataset.path={file}"),
            *(f"dataset.split_by={args.split_by}", "backbone=mlp", "backbone.widths=[32]"),
            *("backbone.norm=none", "trainer.batch_size=4096", "trainer.eval_batch_size=4096"),
            *("trainer.max_epochs=1", "trainer.device=cpu", "trainer.memory_limit_mb=4"),
            *args.overrides,
        ]

    arrays = csr_bytes(args.rows)
    commands = {
        "torch": ["-c", "import torch, mlc.train"],
        "bare": train(few),
        "load": ["-c", LOAD, str(path), args.split_by],
        "train": train(path),
    }
    if args.load_only:
        del commands["train"]
    taken = {name: measure(command) for name, command in commands.items()}
    print(f"CSR arrays: {arrays / 1e6:.0f} MB")
    print("process     time      peak   above torch, / arrays   above bare, / arrays")
    for name, (seconds, peak) in taken.items():
        above = [(peak - taken[base][1]) / 1e6 for base in ("torch", "bare")]
        columns = "   ".join(f"{mb:8.0f} MB  {mb * 1e6 / arrays:8.2f}" for mb in above)
        print(f"{name:6} {seconds:7.1f} s  {peak / 1e6:5.0f} MB   {columns}")


if __name__ == "__main__":
    main()
