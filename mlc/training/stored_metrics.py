"""The metrics that a run has stored, and whether two runs measured the same."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

from mlc.errors import UserError
from mlc.training.run_files import RunFiles

Metrics = Mapping[str, float | None]  # by "<split> <metric>"


def read_metrics(folder: Path) -> Metrics | None:
    """The metrics that a run has stored; None where it has not finished.

    Raises:
        UserError: its results cannot be read.
    """
    path = RunFiles(folder).results
    try:
        splits = json.loads(path.read_text(encoding="utf-8"))["splits"]
        return {
            f"{split} {name}": None if value is None else float(value)
            for split, metrics in splits.items()
            for name, value in metrics.items()
            if value is None or isinstance(value, int | float)
        }
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise UserError(f"{path} cannot be read as the results of a run ({error})") from error


def compare(then: Metrics, now: Metrics, *, place: str) -> str:
    """Whether two runs measured the same.

    Args:
        then: what the old run measured.
        now: what the new one did.
        place: of the old numbers.
    """
    names = list({**then, **now})
    by_size = {name: _difference(then.get(name), now.get(name)) for name in names}
    different = [name for name in names if by_size[name] != 0]
    if not different:
        return f"All {len(names)} metrics equal those in {place}."
    worst = max(different, key=by_size.__getitem__)
    before, after = (
        "not defined" if values.get(worst) is None else f"{values[worst]:.6g}" for values in (then, now)
    )
    size = f", a difference of {by_size[worst]:.2g}" if math.isfinite(by_size[worst]) else ""
    return (
        f"{len(different)} of {len(names)} metrics differ from {place}, {worst} most: {before} then, {after} "
        f"now{size}."
    )


def _difference(then: float | None, now: float | None) -> float:
    """How far apart two values are; infinitely, where only one is defined."""
    if then is None or now is None:
        return 0.0 if then is now else math.inf
    return abs(then - now)
