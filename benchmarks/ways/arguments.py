"""What every contender is told on its command line."""

import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.workloads import WORKLOADS, Workload


@dataclass(frozen=True)
class Arguments:
    """The work, where its data are, where a run may write, and the device."""

    workload: Workload
    data: Path
    scratch: Path
    device: str
    rest: list[str]


def read() -> Arguments:
    """The command line of this process."""
    name, data, scratch, device, *rest = sys.argv[1:]
    return Arguments(WORKLOADS[name], Path(data), Path(scratch), device, rest)
