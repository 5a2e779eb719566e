"""From one config node to one object, checked: only known classes, only known keys, only fitting values.

Hydra's own `instantiate` calls whatever a file names, which makes a stranger's run folder executable code
(GHSA-37p2-j732-x8pj). Here a `_target_` is imported only from allowed modules and must be a class of the
kind its group asks for. Packages of the user's own are allowed by the command line alone (trust=).
"""

import difflib
import importlib
import inspect
import json
import sys
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from mlc.errors import UserError
from mlc.experiment.shown import shown
from mlc.experiment.trust import trusted

if TYPE_CHECKING:
    from pydantic import TypeAdapter

# Constructor arguments that come from the experiment and not from the config.
RUNTIME: Mapping[str, frozenset[str]] = {
    "backbone": frozenset({"inputs"}),
    "join": frozenset({"backbone", "inputs", "picture"}),
    "join.picture": frozenset({"inputs"}),
    "head": frozenset({"in_features", "labels"}),
    "loss": frozenset({"labels"}),
    "auxiliary.head": frozenset({"in_features", "labels"}),
    "auxiliary.loss": frozenset({"labels"}),
    "decision": frozenset({"n_labels"}),
    "calibration": frozenset({"n_labels"}),
    "augmentation": frozenset({"inputs", "preparation"}),
    "optimizer": frozenset({"params"}),
}
_ALLOWED = (
    *(
        "mlc.backbones",
        "mlc.calibration",
        "mlc.data",
        "mlc.decisions",
        "mlc.heads",
        "mlc.losses",
        "mlc.training",
    ),
    "torch.optim",
)
# Whose classes are refused without a hint how to trust them.
_LIBRARIES = frozenset({"mlc", "torch", "hydra", "omegaconf", "numpy", "yaml", "pydantic"})
# What torch says of sizes that no machine has.
_NO_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "Storage size calculation",
    "numel",
)

Node = Mapping[str, Any]


def make(node: Node, *, group: str, kind: type) -> "Maker":
    """A callable that takes the run-time arguments and builds the node's object.

    Args:
        node: a config node with `_target_` and the constructor's options.
        group: the config group, for messages.
        kind: the class (or protocol) the target must be.

    Raises:
        UserError: unknown or disallowed target, unknown or missing key, or a value that does not fit.
    """
    target = _resolve(node, group=group, kind=kind)
    options = {key: value for key, value in node.items() if key not in ("_target_", "_partial_")}
    check_options(target, options, group=group)
    return Maker(target, group, options)


@dataclass(frozen=True)
class Maker:
    """A class with its checked options, waiting for the run-time arguments.

    Args:
        target: the class.
        group: the config group, for messages.
        options: the constructor's options.
    """

    target: type
    group: str
    options: Mapping[str, Any]

    def __call__(self, **runtime: Any) -> Any:
        """The object; it takes of the run-time arguments those that it knows.

        Raises:
            UserError: the constructor refuses its options.
        """
        wanted = inspect.signature(self.target).parameters
        given = {key: value for key, value in runtime.items() if key in wanted}
        try:
            return self.target(**self.options, **given)
        except ValueError as error:
            raise UserError(f"{self.group}: {error}") from error
        except (MemoryError, OverflowError) as error:
            raise UserError(f"{self.group} is too large to be built: {error or 'no memory'}") from error
        except RuntimeError as error:
            if not any(words in str(error) for words in _NO_MEMORY):
                raise
            raise UserError(f"{self.group} is too large to be built: {str(error).splitlines()[0]}") from error


def _resolve(node: Node, *, group: str, kind: type) -> type:
    name = node.get("_target_") if isinstance(node, Mapping) else None
    if not isinstance(name, str):
        raise UserError(f"{group} has no _target_: choose one by name, for example {group}=<name>")
    module_name, _, class_name = name.rpartition(".")
    if not _is_allowed(module_name):
        raise UserError(f"{group}._target_={shown(name)} is refused: {_why_refused(module_name)}")
    try:
        target = getattr(importlib.import_module(module_name), class_name)
    except ModuleNotFoundError as error:
        if error.name is not None and not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there, and what it imports is not
        raise UserError(f"{group}._target_={shown(name)} does not exist") from None
    except (AttributeError, OSError):
        raise UserError(f"{group}._target_={shown(name)} does not exist") from None
    # The resolved object counts, not the string: a name inside an allowed module may be somebody else's.
    if not inspect.isclass(target) or not _is_allowed(target.__module__) or not issubclass(target, kind):
        raise UserError(f"{group}._target_={shown(name)} is refused: it is no {kind.__name__}")
    if inspect.isabstract(target) or getattr(target, "_is_protocol", False):
        raise UserError(
            f"{group}._target_={shown(name)} is refused: it only says what others are; name one of those"
        )
    return target


def _is_allowed(module_name: str) -> bool:
    names = (*_ALLOWED, *trusted())
    return any(module_name == allowed or module_name.startswith(allowed + ".") for allowed in names)


def _why_refused(module_name: str) -> str:
    package = module_name.partition(".")[0]
    why = "a config may only name classes of mlc and torch.optim"
    if not package.isidentifier() or package in sys.stdlib_module_names or package in _LIBRARIES:
        return why
    return (
        f"{why}; if {package} is a package of your own, every command that builds this model needs "
        f"trust={package}, and no config or run folder can say that for you"
    )


def check_options(target: type, options: Node, *, group: str) -> None:
    """Compare options with the constructor's signature and annotations.

    Raises:
        UserError: naming the key, the value and what is allowed.
    """
    parameters = inspect.signature(target).parameters
    runtime = RUNTIME.get(group, frozenset())
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    settable = [name for name, p in parameters.items() if name not in runtime and p.kind not in variadic]
    for key in options:
        if key not in settable:
            raise UserError(
                f"{group}.{shown(key)} is no option of {target.__name__}{did_you_mean(str(key), settable)}"
            )
    for name in settable:
        if name not in options and parameters[name].default is inspect.Parameter.empty:
            raise UserError(f"{group}.{name} is missing: {target.__name__} needs it")
    hints = _hints(target, group=group)
    for key, value in options.items():
        if key in hints:
            check_value(hints[key], value, name=f"{group}.{key}")


def _hints(target: type, *, group: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(vars(target).get("__init__", target), include_extras=True)
    except NameError as error:  # in code of the user's own
        raise UserError(
            f"{group}: the annotations of {target.__name__} cannot be read ({error}): import what they name "
            f"outside of TYPE_CHECKING"
        ) from error


def check_value(hint: Any, value: Any, *, name: str) -> None:
    """Check one value against a type annotation.

    Raises:
        UserError: naming the key, the value and what is allowed.
    """
    from pydantic import ValidationError  # costs 0.1 s: only where a config is read

    try:
        # As JSON, because there a list may stand for a tuple, and nothing else is converted.
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):  # YAML also knows dates, bytes, sets, NaN and infinity
        raise UserError(f"{name}={shown(value)} is not allowed: give finite numbers or text") from None
    try:
        _adapter(hint).validate_json(text, strict=True)
    except ValidationError as error:
        # A union reports every branch; those that no YAML value can meet (a Tensor, null) do not help.
        found = ["too few values" if e["type"] == "missing" else e["msg"] for e in error.errors()]
        helpful = [text for text in found if "isinstance" not in text and "None" not in text] or found
        messages = [text[:1].lower() + text[1:] for text in dict.fromkeys(helpful)]
        raise UserError(f"{name}={shown(value)} is not allowed: {' or '.join(messages)}") from None


@cache
def _adapter(hint: Any) -> "TypeAdapter[Any]":
    """What checks values against an annotation; making one takes ten times as long as a check."""
    from pydantic import ConfigDict, TypeAdapter

    try:
        return TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
    except Exception:  # a class with its own config
        return TypeAdapter(hint)


def did_you_mean(word: str, known: list[str]) -> str:
    """The end of a sentence: the nearest known word, or all of them."""
    close = difflib.get_close_matches(word[:100], known, n=1)  # slow for long words
    if close:
        return f"; did you mean {close[0]}?"
    return f"; it has {', '.join(known)}" if known else "; it has no options"
