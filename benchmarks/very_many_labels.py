"""Very many labels by the command line: train, evaluate and predict in bounded memory?

    python benchmarks/very_many_labels.py --folder <where files and run folder may stay>
    python benchmarks/very_many_labels.py --folder ... --rows 3000 --labels 1000000 --width 64

The file is in the format of the extreme-classification sets, with 20,000 features. Each label has 8 features
of its own; a row has about 5 labels, the first ones more often, most of their features and 20 of any. It is
written once, always the same.

Each door is a process, and its memory is the largest resident one that the kernel saw. The processor's time
stands beside the clock's, because on a busy machine only the first says much.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np

FEATURES, OWN, ANY, PER_ROW = 20_000, 8, 20, 5
NEW_ROWS = 500


def write_file(path: Path, rows: int, labels: int) -> None:
    """Write the file, unless it is there."""
    if path.is_file():
        return
    random = np.random.default_rng(0)
    own_LF = random.integers(FEATURES, size=(labels, OWN))
    share_L = np.arange(1, labels + 1) ** -0.6
    up_to_L = share_L.cumsum() / share_L.sum()
    part = path.with_suffix(".part")
    with part.open("w") as file:
        file.write(f"{rows} {FEATURES} {labels}\n")
        for _ in range(rows):
            number = 1 + random.poisson(PER_ROW - 1)
            its = np.unique(np.searchsorted(up_to_L, random.random(number)).clip(max=labels - 1))
            named = own_LF[its].ravel()
            named = named[random.random(len(named)) < 0.8]
            features = np.unique(np.concatenate([named, random.integers(FEATURES, size=ANY)]))
            file.write(",".join(map(str, its)) + "".join(f" {i}:1" for i in features) + "\n")
    part.replace(path)


def measure(command: list[str]) -> str:
    """Clock, processor time and largest resident memory of a process, which must end well."""
    start_s = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", *command])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command[:2])} ended with {process.returncode}")
    clock_s, processor_s = time.perf_counter() - start_s, usage.ru_utime + usage.ru_stime
    return f"{clock_s:6.0f} s {processor_s:6.0f} s {usage.ru_maxrss / 1e6:6.2f} GB"  # Linux counts in KiB


def main() -> None:
    """Write the file, run the doors, and print what they took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--labels", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=256, help="of the hidden layer")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("overrides", nargs="*", help="of the training run")
    args = parser.parse_args()

    args.folder.mkdir(parents=True, exist_ok=True)
    path = args.folder / f"labels_{args.rows}_{args.labels}.svm"
    write_file(path, args.rows, args.labels)
    new = args.folder / "new.svm"
    with path.open() as whole:
        lines = list(islice(whole, 1, 1 + NEW_ROWS))
    new.write_text(f"{len(lines)} {FEATURES} {args.labels}\n" + "".join(lines))
    run = args.folder / f"run_{args.labels}"
    shutil.rmtree(run, ignore_errors=True)
    train = [
        *("mlc.train", "dataset=svmlight", f"dataset.path={path}", "dataset.split_by=random"),
        *("backbone=mlp", f"backbone.widths=[{args.width}]", "optimizer=row_adagrad"),
        *("trainer.label_chunk=auto", "trainer.batch_size=1024", f"trainer.max_epochs={args.epochs}"),
        *(f"hydra.run.dir={run}", *args.overrides),
    ]
    doors = {
        "train": train,
        "evaluate": ["mlc.evaluate", f"run={run}"],
        "predict": ["mlc.predict", f"run={run}", f"input={new}", f"output={args.folder / 'out.jsonl'}"],
    }
    taken = {name: measure(command) for name, command in doors.items()}
    print("door         clock  processor  memory")
    for name, columns in taken.items():
        print(f"{name:9} {columns}")


if __name__ == "__main__":
    main()
