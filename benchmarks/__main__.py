"""The table of the nine targets, or one workload of it.

    python -m benchmarks                       # everything (`make bench`); forty minutes on two idle cores
    python -m benchmarks W1 --pairs 3          # one workload, quickly
    python -m benchmarks W2 W3 --device cuda

Contenders are processes that take turns (see contest.py); a ratio is taken within a round, and the table has
the median of the rounds with the interval that covers the true median 95 times in 100. With everything
measured, the table is also written to benchmarks/results/.
"""

import argparse
import datetime
import json
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks import data, floor, hardware, others, training
from benchmarks.contest import MLC, ROOT, Setting
from benchmarks.spread import spread
from benchmarks.targets import Line, plain, table
from benchmarks.workloads import WORKLOADS

_RESULTS = ROOT / "benchmarks" / "results"
_STARTED = datetime.date.today()


def main() -> None:
    """Measure, print, and keep the result."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what it has started ends with it
    args = _arguments()
    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit("--device cuda: this torch sees no CUDA device")
    torch.set_num_threads(args.threads)
    setting = Setting(args.data, args.device, args.threads)
    where = hardware.describe(args.device, args.threads)
    print(where, flush=True)
    if (busy := hardware.load()) is not None and busy > 0.5:
        print(f"load {busy:.1f} before the start: other work runs here, and only ratios count", flush=True)
    missing = "peers: left out by --no-peers" if args.no_peers else training.missing_peers()
    if missing:
        print(missing, flush=True)
    measured: dict[str, training.Measured] = {}
    for name in args.workloads or WORKLOADS:
        data.make(WORKLOADS[name], setting.data)
        measured[name] = training.measure(name, setting, pairs=args.pairs, peers=missing is None)
        print(f"\n{name}: {WORKLOADS[name].what}\n{training.speeds({name: measured[name]})}", flush=True)
        for way, why in measured[name].failed.items():
            print(f"{way}: left out: {why}", flush=True)
        if not args.workloads:  # in case that something later fails
            _write_numbers({"hardware": where, "training": training.plain(measured)}, args.device)
    lines = (
        training.steady_lines(measured) + training.precision_lines(measured) + training.memory_lines(measured)
    )
    if args.workloads:
        print("\n" + table(lines))
        return
    _finish(args, setting, measured, lines, missing)


def _finish(
    args: argparse.Namespace,
    setting: Setting,
    measured: Mapping[str, training.Measured],
    lines: list[Line],
    missing: str | None,
) -> None:
    """Measure what is no workload, print the whole table and write it down."""
    start, starts = training.start_line(setting)
    start_s = spread(starts[MLC.name]).median if starts else None
    scripts: dict[str, str] = {}
    lines = [*lines, start]
    for name, measure in {
        "evaluation": lambda: others.evaluation(setting),
        "label_chunks": lambda: others.label_chunks(setting),
        "label_networks": lambda: others.label_networks(setting, start_s=start_s),
        "scaling": lambda: others.scaling(setting),
    }.items():
        more, scripts[name] = measure()
        lines += more
    lines.append(training.cuda_line(measured, setting))
    lines.sort(key=lambda line: line.target.partition(".")[0])
    rates = floor.measure(setting.device)
    where = hardware.describe(args.device, args.threads)
    text = "\n\n".join(
        [
            "# The nine targets",
            f"`make bench`, {datetime.date.today()}, {where}; load at the end {hardware.load() or 0:.1f}, of "
            f"which the benchmark itself makes about {args.threads}",
            table(lines),
            "## Steady training, ratio to bare (samples per second)",
            training.speeds(measured),
            "\n".join(
                f"- {way}: left out: {why}" for one in measured.values() for way, why in one.failed.items()
            ),
            missing or "",
            "## The floor",
            floor.sentence(rates),
            floor.table(rates),
            *(f"## {name}.py\n\n```\n{printed.strip()}\n```" for name, printed in scripts.items() if printed),
        ]
    )
    print("\n" + text)
    _write_numbers(
        {
            "hardware": where,
            "targets": plain(lines),
            "training": training.plain(measured),
            "first_step_s": starts,
            "floor": vars(rates),
            "scripts": scripts,
        },
        args.device,
    )
    path = _path(args.device, ".md")
    path.write_text(text.rstrip() + "\n", encoding="utf-8")
    print(f"written to {path.relative_to(ROOT)} and {path.stem}.json")


def _write_numbers(numbers: Mapping[str, Any], device: str) -> None:
    _path(device, ".json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")


def _path(device: str, suffix: str) -> Path:
    _RESULTS.mkdir(exist_ok=True)
    return _RESULTS / f"{_STARTED}-{hardware.short(device)}{suffix}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workloads", nargs="*", metavar="W1...W5", help="all without a name")
    parser.add_argument(
        "--pairs",
        type=int,
        default=11,
        help="rounds in which bare and mlc take a turn each; four times of W1",
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=hardware.cores(), help="of each process")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(tempfile.gettempdir()) / "mlc-benchmarks",
        help="for the made-up data",
    )
    args = parser.parse_args()
    if unknown := set(args.workloads) - WORKLOADS.keys():
        parser.error(f"{', '.join(sorted(unknown))}: the workloads are {', '.join(WORKLOADS)}")
    if args.pairs < 1 or args.threads < 1:
        parser.error("--pairs and --threads are 1 or more")
    return args


if __name__ == "__main__":
    main()
