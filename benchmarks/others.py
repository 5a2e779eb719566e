"""Targets 5 to 8: scripts of their own, run as they are; their tables are read and kept."""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.contest import ROOT, Setting
from benchmarks.targets import Line, at_least, at_most

_LONGEST_S = 3600


def run(script: str, words: Sequence[str], setting: Setting) -> str:
    """What a script of this folder prints; "" if it fails, and says so on the standard error."""
    command = [sys.executable, str(ROOT / "benchmarks" / f"{script}.py"), *words]
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=setting.environment,
            stdout=subprocess.PIPE,
            text=True,
            timeout=_LONGEST_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        print(f"{script}: not done after {_LONGEST_S} s, left out", file=sys.stderr)
        return ""
    return done.stdout if done.returncode == 0 else ""


def evaluation(setting: Setting) -> tuple[list[Line], str]:
    """Target 5: W6."""
    printed = run("evaluation", ["--cases", "exact", "streaming"], setting)
    lines = []
    for case, seconds, megabytes in (("exact", 5.0, 450), ("streaming", 1.2, 300)):
        # case, ratio, seconds, processor seconds, extra MB
        found = re.search(rf"^{case}\s+\S+\s+([\d.]+)\s+[\d.]+\s+([\d.]+)", printed, re.MULTILINE)
        target = f"5. W6 {case}: seconds"
        if found is None:
            lines.append(Line(f"{target} ≤ {seconds:g}", "benchmarks/evaluation.py gave no number", None))
            continue
        taken_s, extra_mb = float(found[1]), float(found[2])
        lines.append(at_most(target, seconds, taken_s, f"{taken_s:.2f}"))
        lines.append(at_most(f"5. W6 {case}: extra MB", megabytes, extra_mb, f"{extra_mb:.0f}"))
    return lines, printed


def label_chunks(setting: Setting) -> tuple[list[Line], str]:
    """Target 6: W5b, and a million labels."""
    printed = run("label_chunks", [], setting)
    rows: dict[str, _ChunkRow] = {}
    section = ""
    for text in printed.splitlines():
        if head := re.match(r"(w5b|million):", text):
            section = head[1]
        elif row := re.match(r"(plain|chunks)\s+(.*)", text):
            rows[f"{section} {row[1]}"] = _ChunkRow(
                *(float(number) for number in re.findall(r"[\d.]+", row[2]))
            )
    if not {"w5b chunks", "million chunks"} <= rows.keys():
        return [Line("6. very many labels", "benchmarks/label_chunks.py gave no number", None)], printed
    w5b, million = rows["w5b chunks"], rows["million chunks"]
    ratio, gigabytes = million.step_per_traffic, million.peak_mb / 1000
    return [
        at_least("6. W5b: speed, ratio to plain", 1.4, w5b.speed, f"{w5b.speed:.2f}"),
        at_most("6. W5b: memory, ratio to plain", 0.75, w5b.memory, f"{w5b.memory:.2f}"),
        at_most("6. a million labels: step, ratio to its memory traffic", 2, ratio, f"{ratio:.2f}"),
        at_most("6. a million labels: GB", 8, gigabytes, f"{gigabytes:.1f}"),
    ], printed


class _ChunkRow(NamedTuple):
    """A line of label_chunks.py: its columns from left to right."""

    speed: float
    memory: float
    step_s: float
    samples_per_s: float
    peak_mb: float
    traffic_s: float
    products_s: float
    step_per_traffic: float


def label_networks(setting: Setting, *, start_s: float) -> tuple[list[Line], str]:
    """Target 7: S7's networks together.

    Args:
        setting: where.
        start_s: seconds that a run takes to its first step.
    """
    printed = run("label_networks", ["--device", setting.device], setting)
    found = {
        row[1]: float(row[2]) for row in re.finditer(r"^(together|loop)\s+([\d.]+) s", printed, re.MULTILINE)
    }
    count = re.search(r"^(\d+) networks", printed)
    if not {"together", "loop"} <= found.keys() or count is None:
        return [
            Line("7. S7's networks together", "benchmarks/label_networks.py gave no number", None)
        ], printed
    ratio = found["loop"] / found["together"]
    # A separate run pays its start, and trains one network; what it writes at its end is left out.
    apart = (int(count[1]) * start_s + found["loop"]) / (start_s + found["together"])
    return [
        at_least("7. S7 together, speed over the in-process loop", 1.8, ratio, f"{ratio:.2f}"),
        at_least(
            f"7. S7 together, speed over {count[1]} runs", 5, apart, f"{apart:.1f}, from the start of a run"
        ),
    ], printed


def linearity() -> list[Line]:
    """Target 8, from what `make bench-scaling` has left."""
    path = ROOT / "benchmarks" / "results" / "scaling.json"
    target = "8. cost is linear in rows, labels, epochs: largest slope on the last decade ≤ 1.1"
    if not path.is_file():
        return [Line(target, "run `make bench-scaling` first", None)]
    slopes: dict[str, float] = json.loads(path.read_text())["slopes"]
    words = ", ".join(f"{name} {slope:.2f}" for name, slope in slopes.items())
    return [Line(target, words, max(slopes.values()) <= 1.1)]
