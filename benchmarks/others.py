"""Targets 5 to 8: scripts of their own; what they print is kept, and their numbers are compared."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.contest import ROOT, Setting
from benchmarks.targets import Line, at_least, at_most

_LONGEST_S = 3600
_ON_CPU = "measured on a processor only, by `make bench`"


class Done(NamedTuple):
    """What a script has printed and measured; no numbers where it failed."""

    printed: str
    numbers: dict[str, Any]


def run(script: str, words: Sequence[str], setting: Setting) -> Done:
    """Run a script of this folder; one that fails says why on the standard error, and the rest goes on."""
    print(f"\n{script} {' '.join(words)}", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "numbers.json"
        command = [sys.executable, "-m", f"benchmarks.{script}", *words, "--json", str(path)]
        with subprocess.Popen(
            command,
            cwd=ROOT,
            env=setting.environment,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # it has children of its own, which must not go on without it
        ) as process:
            try:
                printed, _ = process.communicate(timeout=_LONGEST_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                return Done(f"not done after {_LONGEST_S} s", {})
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        print(printed, flush=True)
        numbers = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return Done(printed if process.returncode == 0 else "it failed", numbers)


def evaluation(setting: Setting) -> tuple[list[Line], str]:
    """Target 5: W6, on the processor."""
    if setting.device != "cpu":
        return [Line("5. W6", _ON_CPU, None)], ""
    beside = ("torchmetrics_ap_exact", "torchmetrics_f1", "sklearn_f1")
    done = run("evaluation", ["--cases", "exact", "streaming", *beside, "--repeats", "3"], setting)
    lines = []
    for case, seconds, megabytes in (("exact", 5.0, 450), ("streaming", 1.2, 300)):
        if case not in done.numbers:
            lines.append(_not_measured(f"5. W6 {case}: seconds ≤ {seconds:g}", "evaluation"))
            continue
        taken_s, extra_mb = (done.numbers[case][key] for key in ("seconds", "extra_mb"))
        lines.append(at_most(f"5. W6 {case}: seconds", seconds, taken_s, f"{taken_s:.2f}"))
        lines.append(at_most(f"5. W6 {case}: extra MB", megabytes, extra_mb, f"{extra_mb:.0f}"))
    return lines, done.printed


def label_chunks(setting: Setting) -> tuple[list[Line], str]:
    """Target 6: W5b, and a million labels, on the processor."""
    if setting.device != "cpu":
        return [Line("6. very many labels", _ON_CPU, None)], ""
    done = run("label_chunks", [], setting)
    if not {"w5b", "million", "million_few"} <= done.numbers.keys():
        return [_not_measured("6. very many labels", "label_chunks")], done.printed
    w5b, many, few = (done.numbers[case]["chunks"] for case in ("w5b", "million", "million_few"))
    gigabytes = max(many["peak_mb"], few["peak_mb"]) / 1000
    step = "6. a million labels: step, ratio to its memory traffic"
    with_products = f"{many['per_traffic']:.1f}; to traffic and products {many['per_floor']:.2f}"
    return [
        at_least("6. W5b: speed, ratio to plain", 1.4, w5b["speed"], f"{w5b['speed']:.2f}"),
        at_most("6. W5b: memory, ratio to plain", 0.75, w5b["memory"], f"{w5b['memory']:.2f}"),
        at_most(f"{step}, 8 rows", 2, few["per_traffic"], f"{few['per_traffic']:.2f}"),
        at_most(f"{step}, 128 rows", 2, many["per_traffic"], with_products),
        at_most("6. a million labels: GB", 8, gigabytes, f"{gigabytes:.1f}"),
    ], done.printed


def label_networks(setting: Setting, *, start_s: float | None) -> tuple[list[Line], str]:
    """Target 7: S7's networks together.

    Args:
        setting: where.
        start_s: seconds that a run takes to its first step; None where that is not known.
    """
    done = run("label_networks", ["--device", setting.device], setting)
    if not done.numbers:
        return [_not_measured("7. S7's networks together", "label_networks")], done.printed
    together_s, loop_s = (done.numbers["seconds"][way] for way in ("together", "loop"))
    count = done.numbers["networks"]
    ratio = loop_s / together_s
    lines = [at_least("7. S7 together, speed over the in-process loop", 1.8, ratio, f"{ratio:.2f}")]
    if start_s is None:
        return lines, done.printed
    # A separate run pays its start, and trains one network; what it writes at its end is left out.
    apart = (count * start_s + loop_s) / (start_s + together_s)
    return [
        at_least("7. S7 together, speed over the in-process loop", 1.8, ratio, f"{ratio:.2f}"),
        at_least(
            f"7. S7 together, speed over {count} runs", 5, apart, f"{apart:.1f}, from the start of a run"
        ),
    ], done.printed


def scaling(setting: Setting) -> tuple[list[Line], str]:
    """Target 8."""
    done = run("scaling", ["--device", setting.device], setting)
    target = "8. cost is linear in rows, labels, epochs: slopes of the last decade in .7 to 1.1"
    if not done.numbers:
        return [_not_measured(target, "scaling")], done.printed
    slopes: dict[str, float] = done.numbers["slopes"]
    words = ", ".join(f"{name} {slope:.2f}" for name, slope in slopes.items())
    return [Line(target, words, all(0.7 <= slope <= 1.1 for slope in slopes.values()))], done.printed


def _not_measured(target: str, script: str) -> Line:
    return Line(target, f"benchmarks/{script}.py gave no number", None)
