"""YAML that somebody else may have written: plain values, of a bounded size, or a sentence.

PyYAML's safe loader makes no objects. What it still does is follow aliases (nine lines can stand for a
billion values), recurse as deep as brackets nest, and raise ValueError for dates that do not exist.
"""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from mlc.errors import UserError

MOST_BYTES = 4 << 20
DEEPEST = 32


class _PlainLoader(yaml.SafeLoader):
    """The safe loader without aliases, without repeated keys and without deep nesting."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _refusal(f"the alias *{event.anchor} is refused: write the value out", event)
        if self.depth == DEEPEST:
            raise _refusal(f"it is nested more than {DEEPEST} levels deep", event)
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise _refusal(f"the key {key.value} stands twice in one place", key)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _refusal(problem: str, place: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=place.start_mark)


def read_yaml(path: Path) -> Any:
    """The plain values of a YAML file.

    Raises:
        UserError: it is no YAML, too large, or uses what no config of this project needs: tags of Python
            objects, aliases, deep nesting.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise UserError(
                f"{path} is refused: it has more than {MOST_BYTES} bytes, and no config is so large"
            )
        return parse_yaml(content.decode("utf-8"), name=str(path))
    except UnicodeDecodeError:
        raise UserError(f"{path} cannot be read as YAML: it is no UTF-8 text") from None


def parse_yaml(text: str, *, name: str) -> Any:
    """The plain values of a YAML text.

    Args:
        text: the YAML.
        name: what it is called in messages.

    Raises:
        UserError: as for `read_yaml`.
    """
    try:
        return yaml.load(text, _PlainLoader)
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f", line {error.problem_mark.line + 1}"
        raise UserError(f"{name}{line} cannot be read as YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise UserError(f"{name} cannot be read as YAML: {str(error).splitlines()[0]}") from None
