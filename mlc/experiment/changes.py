"""What a config asks for otherwise than the config of a run that is there."""

import inspect
import sys
from typing import Any

from mlc.experiment.shipped import Config


def changes(new: Config, old: Config) -> dict[str, Any]:
    """What a new config has otherwise than that of a run, by its keys, where the data did not decide it.

    An option that the run's config lacks has come since: the run has trained with its default.

    Args:
        new: checked by `read_recipe`, which has imported its classes.
        old: the resolved config of the run.
    """
    changed = {}
    for group, node in new.items():
        before = _completed(old.get(group), like=node)
        if group == "choices" or node == {"auto": True} or (group == "text" and not before):
            continue
        if not isinstance(node, dict):
            node, before, prefix = {group: node}, {group: before}, ""
        else:
            prefix = f"{group}."
        for key, value in node.items():
            was = before.get(key) if isinstance(before, dict) else before
            if value not in (was, "auto"):
                changed[f"{prefix}{key}"] = value
    return changed


def _completed(old: Any, *, like: Any) -> Any:
    """An old node, and the nodes in it, with the defaults of those options that only the new one has."""
    if not old or not isinstance(old, dict) or not isinstance(like, dict):
        return old
    since = {key: default for key, default in _defaults(like).items() if key in like}
    return {key: _completed(value, like=like.get(key)) for key, value in (since | old).items()}


def _defaults(node: Config) -> dict[str, Any]:
    """The defaults of the class of a node, as a config spells them."""
    module, _, name = str(node.get("_target_")).rpartition(".")
    target = getattr(sys.modules.get(module), name, None)
    if not inspect.isclass(target):
        return {}
    return {
        key: list(option.default) if isinstance(option.default, tuple) else option.default
        for key, option in inspect.signature(target).parameters.items()
        if option.default is not inspect.Parameter.empty
    }
