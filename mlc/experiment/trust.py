"""Packages of the user's own, which a config may name only because the command line does.

Trust is given by a person, for one command. It is never read from a config, a preset or a run folder: these
travel, and what they could grant, a stranger could grant.
"""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from mlc.errors import UserError

_TRUSTED: ContextVar[tuple[str, ...]] = ContextVar("trusted", default=())


def trusted() -> tuple[str, ...]:
    """The names of the packages that this command trusts."""
    return _TRUSTED.get()


@contextmanager
def trusting(packages: str | None) -> Iterator[None]:
    """Trust packages while the block runs; they may also lie in the working directory.

    Args:
        packages: names joined by commas; None for none.

    Raises:
        UserError: a name that is no package here, or one of Python's own.
    """
    if packages is None:
        yield
        return
    names = [name.strip() for name in packages.split(",")]
    with _importable_from_here():
        token = _TRUSTED.set(tuple(_checked(name) for name in names))
        try:
            yield
        finally:
            _TRUSTED.reset(token)


@contextmanager
def _importable_from_here() -> Iterator[None]:
    here = str(Path.cwd())
    if here in sys.path or "" in sys.path:
        yield
        return
    sys.path.append(here)  # last: a file here must not stand for a library
    try:
        yield
    finally:
        with suppress(ValueError):  # a package has changed the path itself
            sys.path.remove(here)


def _checked(name: str) -> str:
    if not name.isidentifier():
        raise UserError(f"trust={name} is no name of a package: give one, or several as in trust=nets,losses")
    if name in sys.stdlib_module_names:
        raise UserError(f"trust={name} is refused: that is Python's own; trust names a package of yours")
    if importlib.util.find_spec(name) is None:
        raise UserError(
            f"trust={name} is not there: start in the folder that holds the package {name}, or install it"
        )
    return name
