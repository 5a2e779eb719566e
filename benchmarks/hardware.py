"""What a result was measured on, in words that name no machine."""

import os
import platform
import re
from pathlib import Path

import torch


def processor() -> str:
    """The processor's model, or its architecture where the system does not tell."""
    path = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", path.read_text()) if path.is_file() else None
    return " ".join(found[1].split()) if found else platform.machine()


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe(device: str, threads: int) -> str:
    """One line."""
    parts = [
        f"{cores()} cores of {processor()}",
        f"{threads} threads",
        torch.backends.cpu.get_cpu_capability(),
    ]
    if device == "cuda":
        parts.insert(0, torch.cuda.get_device_name())
    return ", ".join([*parts, f"torch {torch.__version__}", f"Python {platform.python_version()}"])


def short(device: str) -> str:
    """A few words for a file name."""
    words = f"{cores()}x {processor()}" if device == "cpu" else torch.cuda.get_device_name()
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")


def load() -> float | None:
    """Processes that wanted to run in the last minute, on average; None where the system does not tell."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def multiplies_bf16() -> bool:
    """Whether the processor has instructions for bf16 products."""
    known = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))
