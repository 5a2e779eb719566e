"""Targets 1 to 4 and 9: training itself, measured side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import contest, hardware
from benchmarks.contest import (
    BARE,
    BARE_BF16,
    LOADER,
    MLC,
    MLC_AUTO,
    PEERS,
    PEERS_PYTHON,
    ContenderFailedError,
    Outcome,
    Setting,
    Way,
)
from benchmarks.spread import Spread, spread
from benchmarks.targets import Line, at_least, at_most
from benchmarks.workloads import WORKLOADS

_PEER_ROUNDS, _ROUNDS_OF_A_START = 3, 4
_STARTS = 5


@dataclass(frozen=True)
class Measured:
    """What all ways did on one workload: their rounds, in which each took one turn."""

    outcomes: Mapping[str, Outcome]
    failed: Mapping[str, str]

    def has(self, *ways: Way) -> bool:
        """Whether all of these took part to the end."""
        return all(way.name in self.outcomes for way in ways)

    def ratio(
        self, way: str, what: str = "steady", base: str = BARE.name, base_what: str | None = None
    ) -> Spread:
        """Ratios of a way's speed to another's, round by round."""
        own, line = getattr(self.outcomes[way], what), getattr(self.outcomes[base], base_what or what)
        return spread([a / b for a, b in zip(own, line, strict=False)])


def measure(name: str, setting: Setting, *, pairs: int, peers: bool) -> Measured:
    """One workload: first everybody, then bare and mlc alone until there are enough pairs."""
    workload = WORKLOADS[name]
    pairs_left, outcomes, failed = pairs * workload.pairs_times, {}, {}
    ways: Sequence[Way] = (BARE, LOADER, MLC, *auto_ways(name, setting), *(PEERS if peers else ()))
    while pairs_left > 0:
        rounds = min(pairs_left, _ROUNDS_OF_A_START if outcomes else _PEER_ROUNDS)
        some, why = contest.contest(ways, workload, setting, rounds=rounds)
        for way, outcome in some.items():
            before = outcomes.setdefault(way, Outcome())
            for key, values in vars(outcome).items():
                getattr(before, key).extend(values)
        failed |= why
        if BARE.name not in some or MLC.name not in some:
            break
        pairs_left -= rounds
        # A new start has another layout in memory, which is a part of the spread.
        ways = tuple(way for way in (BARE, MLC, *auto_ways(name, setting)) if way.name not in failed)
    return Measured(outcomes, failed)


def auto_ways(name: str, setting: Setting) -> tuple[Way, ...]:
    """precision=auto, where it can differ from fp32; on CUDA beside a bare loop in bf16."""
    if setting.device == "cuda":
        return (BARE_BF16, MLC_AUTO) if name in ("W2", "W3", "W4") else ()
    return (MLC_AUTO,) if hardware.multiplies_bf16() and name in ("W2", "W3") else ()


def speeds(measured: Mapping[str, Measured]) -> str:
    """Ratios to the bare loop, and the bare loop's own speed, in Markdown."""
    ways = dict.fromkeys(way for one in measured.values() for way in one.outcomes)
    rows = ["| | " + " | ".join(measured) + " |", "|---" * (len(measured) + 1) + "|"]
    rows += [f"| {way} | " + " | ".join(_speed(one, way) for one in measured.values()) + " |" for way in ways]
    cells = [str(one.ratio(MLC.name, "cpu")) if one.has(BARE, MLC) else "–" for one in measured.values()]
    return "\n".join([*rows, "| mlc, by processor time | " + " | ".join(cells) + " |"])


def _speed(one: Measured, way: str) -> str:
    if way not in one.outcomes or not one.has(BARE):
        return "–"
    if way == BARE.name:
        return f"1 = {spread(one.outcomes[way].steady).median:,.0f}/s"
    return str(one.ratio(way))


def steady_lines(measured: Mapping[str, Measured]) -> list[Line]:
    """Target 1."""
    lines = []
    for name, one in measured.items():
        if one.has(BARE, MLC):
            ratio = one.ratio(MLC.name)
            words = f"{ratio}, {len(ratio.values)} pairs; by processor time {one.ratio(MLC.name, 'cpu')}"
            lines.append(at_least(f"1. {name}: steady training, ratio to bare", 0.97, ratio.median, words))
    if "W1" in measured and measured["W1"].has(BARE, MLC):
        lines += _with_ends(measured["W1"])
    return lines


def _with_ends(one: Measured) -> list[Line]:
    ends = one.ratio(MLC.name, "whole")
    without = one.ratio(MLC.name, "whole", base_what="steady")
    words = f"{ends}; against bare's steps alone {without}"
    lines = [at_least("1. W1 with epoch ends, ratio to bare with its validation", 0.7, ends.median, words)]
    for peer, wanted in (("Lightning", 3.5), ("skorch", 1.5)):
        if peer in one.outcomes:
            ratio = one.ratio(MLC.name, "whole", base=peer)
            lines.append(
                at_least(f"1. W1 with epoch ends, ratio to {peer}", wanted, ratio.median, str(ratio))
            )
    return lines


def precision_lines(measured: Mapping[str, Measured]) -> list[Line]:
    """Target 2."""
    lines = []
    for name, wanted in (("W2", 1.25), ("W3", 1.4)):
        target = f"2. {name}: precision=auto, ratio to bare fp32"
        one = measured.get(name)
        if one is not None and one.has(BARE, MLC_AUTO):
            ratio = one.ratio(MLC_AUTO.name)
            lines.append(at_least(target, wanted, ratio.median, str(ratio)))
        elif one is not None:
            words = one.failed.get(MLC_AUTO.name, "this processor has no bf16 products, and auto keeps fp32")
            lines.append(Line(f"{target} ≥ {wanted:g}", words, None))
    return lines


def memory_lines(measured: Mapping[str, Measured]) -> list[Line]:
    """Target 4."""
    lines = []
    for name in ("W2", "W5"):
        one = measured.get(name)
        if one is not None and one.has(BARE, MLC):
            own, bare = (max(one.outcomes[way].peak_mb) for way in (MLC.name, BARE.name))
            words = f"{own / bare:.2f}: {own:,.0f} against {bare:,.0f} MB"
            lines.append(at_most(f"4. {name}: peak memory, ratio to bare", 1.15, own / bare, words))
    return lines


def start_line(setting: Setting) -> tuple[Line, Mapping[str, list[float]]]:
    """Target 3, on W1."""
    target = "3. W1: first step from process start, ratio to bare"
    try:
        taken = contest.first_steps((BARE, MLC), WORKLOADS["W1"], setting, rounds=_STARTS)
    except ContenderFailedError as error:
        return Line(target, str(error), None), {}
    ratio = spread([own / line for own, line in zip(taken[MLC.name], taken[BARE.name], strict=True)])
    words = f"{ratio}: {spread(taken[MLC.name]).median:.1f} s against {spread(taken[BARE.name]).median:.1f} s"
    return at_most(target, 1.3, ratio.median, words), taken


def cuda_line(measured: Mapping[str, Measured], setting: Setting) -> Line:
    """Target 9."""
    target = "9. CUDA: precision=auto, ratio to a bare loop in bf16 on W2-W4 ≥ 0.97"
    if setting.device != "cuda":
        return Line(target, "CUDA has not been measured yet; `make bench DEVICE=cuda` does it", None)
    ratios = {
        name: one.ratio(MLC_AUTO.name, base=BARE_BF16.name)
        for name, one in measured.items()
        if one.has(BARE_BF16, MLC_AUTO)
    }
    words = ", ".join(f"{name} {ratio}" for name, ratio in ratios.items())
    done = ratios.keys() >= {"W2", "W3", "W4"}
    return Line(target, words, all(ratio.median >= 0.97 for ratio in ratios.values()) if done else None)


def missing_peers() -> str | None:
    """Why there are no peers, in one sentence."""
    if PEERS_PYTHON.is_file():
        return None
    return (
        "peers: skipped, because .venv-peers is not there (make bench makes it when it can reach a registry)"
    )


def plain(measured: Mapping[str, Measured]) -> dict[str, Any]:
    """All numbers as plain values."""
    return {
        name: {
            "ways": {way: vars(outcome) for way, outcome in one.outcomes.items()},
            "failed": dict(one.failed),
        }
        for name, one in measured.items()
    }
