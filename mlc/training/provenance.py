"""Where the numbers of a run come from: code, versions, machine, command, and a checksum of all it reads."""

import functools
import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

import torch

import mlc
from mlc.errors import UserError
from mlc.training import processes
from mlc.training.checksums import HEX_DIGITS, digest, digest_tensors
from mlc.training.files import atomic_write_text
from mlc.training.job import Job

FORMAT_VERSION = 1
_NAME = "provenance.json"
# What computes numbers or reads data here.
_PACKAGES = (
    *("torch", "numpy", "scipy", "scikit-learn", "pillow"),
    *("kornia", "pyarrow", "tokenizers", "transformers"),
)
_GIT_SECONDS = 5


@dataclass(frozen=True)
class Sitting:
    """One process that trained in a run folder; a run that was resumed has several.

    Args:
        command: the words after `python`, as given.
        versions: of Python, mlc and the packages that compute or read.
        code: checksum of the package's files, whatever git knows about them.
        commit: git's `id` of the code, and whether that was `dirty` (None where git cannot say); None where
            mlc runs from a wheel.
        machine: what else decides the last digits: system, vector instructions, threads, device.
    """

    command: tuple[str, ...]
    versions: Mapping[str, str]
    code: str
    commit: Mapping[str, Any] | None
    machine: Mapping[str, Any]

    @classmethod
    def here(cls, *, device: str) -> Self:
        """This process, which trains on this device."""
        # Not sys.argv: Hydra reads that, and is given its words in another order.
        return cls(tuple(sys.orig_argv[1:]), _versions(), _code(), _commit(), _machine(device))


@dataclass(frozen=True)
class Provenance:
    """What a run was made from.

    Args:
        seed: of everything random.
        data: checksums of the data, as `digest` gives them.
        initial_weights: checksum of the network before its first step.
        sittings: the processes that trained it, in their order; at least one.
    """

    seed: int
    data: Mapping[str, str]
    initial_weights: str
    sittings: tuple[Sitting, ...]

    @classmethod
    def of(cls, job: Job) -> Self:
        """What a new job is made from; call it before anything has been trained."""
        return cls(
            seed=job.seed,
            data=digest(job.dataset),
            initial_weights=digest_tensors(job.classifier.network.state_dict()),
            sittings=(Sitting.here(device=job.device),),
        )

    def resumed(self, job: Job) -> Self:
        """The same with this process as one more sitting.

        Raises:
            UserError: the data are not those that the run began with; names what differs.
        """
        here = Sitting.here(device=job.device)
        changed = changed_data(self.data, digest(job.dataset))
        if changed:
            versions = "; ".join(differences(self.sittings, here))
            raise UserError(
                f"{job.folder} cannot be resumed, because the data have changed since it began "
                f"({', '.join(changed)}{f'; {versions}' if versions else ''}): put the old data back, or "
                f"start a new run"
            )
        return replace(self, sittings=(*self.sittings, here))

    def for_results(self) -> dict[str, Any]:
        """What results.json says about it, beside the seed: the last sitting, and the earlier ones."""
        *earlier, last = (asdict(sitting) for sitting in self.sittings)
        return {
            **last,
            "data": dict(self.data),
            "initial_weights": self.initial_weights,
            "earlier_sittings": earlier,
        }

    def write(self, folder: Path) -> None:
        """Write it to a run folder."""
        content = {"format_version": FORMAT_VERSION, **asdict(self)}
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        atomic_write_text(folder / _NAME, text + "\n")

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Read it back from a run folder; None where the run wrote none.

        Raises:
            UserError: the file is there and cannot be read.
        """
        path = folder / _NAME
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["format_version"] != FORMAT_VERSION:
                raise ValueError(f"its format is {content['format_version']}, not {FORMAT_VERSION}")
            if not content["sittings"]:
                raise ValueError("it names no process")
            return cls(
                seed=content["seed"],
                data=dict(content["data"]),
                initial_weights=str(content["initial_weights"]),
                sittings=tuple(_sitting(entry) for entry in content["sittings"]),
            )
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UserError(
                f"{path} cannot be read ({error}): delete it to go on without knowing what the run came from"
            ) from error


def changed_data(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The parts of the data whose checksums differ, as words."""
    return [_PARTS.get(name, name) for name in {**then, **now} if then.get(name) != now.get(name)]


def differences(then: Sequence[Sitting], now: Sitting) -> list[str]:
    """What differs between the processes that trained a run and this one, a few words each.

    Commands are left out: they differ always, and what they chose stands in the config.
    """
    found = []
    for group in ("versions", "machine"):
        before = [getattr(sitting, group) for sitting in then]
        after = getattr(now, group)
        for key in dict.fromkeys(key for values in (*before, after) for key in values):
            old, new = {str(values.get(key)): None for values in before}, str(after.get(key))
            if list(old) != [new]:
                found.append(f"{key} {' and '.join(old)} then, {new} now")
    if {sitting.code for sitting in then} != {now.code}:
        commits = {_named(sitting.commit): None for sitting in then}
        found.append(f"the code of mlc ({' and '.join(commits)} then, {_named(now.commit)} now)")
    return found


_PARTS = {
    "train": "training rows",
    "valid": "validation rows",
    "test": "test rows",
    "labels": "names of the labels",
    "preparation": "preparation of the inputs",
}


def _named(commit: Mapping[str, Any] | None) -> str:
    if commit is None:
        return "no commit known"
    return f"commit {str(commit.get('id'))[:10]}{' with changes' if commit.get('dirty') else ''}"


def _sitting(entry: Mapping[str, Any]) -> Sitting:
    return Sitting(
        command=tuple(map(str, entry["command"])),
        versions=_checked(entry["versions"]),
        code=str(entry["code"]),
        commit=None if entry["commit"] is None else _checked(entry["commit"]),
        machine=_checked(entry["machine"]),
    )


def _checked(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same values, which are shown: a stranger's file must not write to the terminal."""
    for text in (*values, *values.values()):
        if not str(text).isprintable():
            raise ValueError("it holds signs that cannot be printed")
    return dict(values)


def _versions() -> dict[str, str]:
    versions = {"mlc": mlc.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # some are optional
            continue
    return versions | {"torch": str(torch.__version__)}  # with its build: 2.13.0+cpu


def _machine(device: str) -> dict[str, Any]:
    machine: dict[str, Any] = {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "processes": processes.size(),
        "device": device,
    }
    if device != "cpu":
        machine |= {
            "device_name": torch.cuda.get_device_name(device),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }
    return machine


@functools.cache  # a process keeps the code that it was started with
def _code() -> str:
    package = Path(mlc.__file__).parent
    sha = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        sha.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return sha.hexdigest()[:HEX_DIGITS]


@functools.cache
def _commit() -> dict[str, Any] | None:
    """The commit of the checkout that mlc runs from; None in a wheel, or where git cannot be asked."""
    checkout = Path(mlc.__file__).parent.parent
    if not (checkout / ".git").exists():
        return None
    commit = _git(checkout, "rev-parse", "HEAD")
    if commit is None:
        return None
    changes = _git(checkout, "status", "--porcelain", "--", "mlc", "configs")
    return {"id": commit.strip(), "dirty": None if changes is None else bool(changes.strip())}


def _git(checkout: Path, *words: str) -> str | None:
    """What git prints; None where it is not there, fails or hangs."""
    # Nothing is written, no hook of the repository runs, and a checkout that others own is read, too.
    options = ["--no-optional-locks", "-c", "core.fsmonitor=false", "-c", f"safe.directory={checkout}"]
    # A git that calls this process (in a hook) says by these variables where it is.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", *options, "-C", str(checkout), *words],
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS,
            check=True,
            stdin=subprocess.DEVNULL,
            env=environment,
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout
