"""Every YAML is bound to the constructor that it names."""

import inspect
from typing import get_type_hints

import pytest
import torch
from pydantic import TypeAdapter

from mlc.experiment.instantiate import RUNTIME
from tests.contract.grid import build, names, options, read, target

GROUPS = ["head", "loss", "backbone", "optimizer", "text", "join", "augmentation", "trainer", "dataset"]
GROUPS += ["schedule", "decision", "calibration"]
# Groups without run-time arguments, whose object is made as it stands in the file.
WHOLE = {"text", "trainer", "dataset", "schedule"}
NOTHING = [("text", "none"), ("join", "none"), ("augmentation", "none")]
FILES = [
    (group, name)
    for group in GROUPS
    for name in names(group)
    if (group, name) not in NOTHING and "auto" not in read(group, name)
]
EVERY_FILE = pytest.mark.parametrize(("group", "name"), FILES)
OURS = pytest.mark.parametrize(
    ("group", "name"), [f for f in FILES if read(*f)["_target_"].startswith("mlc.")]
)


def runtime(group: str) -> frozenset[str]:
    """The arguments that come from the experiment."""
    # The file of a join holds the config of a picture's backbone; the class gets the backbone itself.
    return RUNTIME.get(group, frozenset()) - {"picture"}


def parameters(group: str, name: str) -> dict[str, inspect.Parameter]:
    found = inspect.signature(target(group, name)).parameters
    # A class without a constructor of its own shows nn.Module's *args and **kwargs, which take nothing.
    return {key: p for key, p in found.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}


@EVERY_FILE
def test_every_option_is_an_argument(group: str, name: str) -> None:
    unknown = options(group, name).keys() - parameters(group, name).keys()
    assert not unknown


@EVERY_FILE
def test_no_option_comes_at_run_time_too(group: str, name: str) -> None:
    assert not options(group, name).keys() & runtime(group)


@EVERY_FILE
def test_what_lacks_a_default_is_given_or_comes_at_run_time(group: str, name: str) -> None:
    required = {key for key, p in parameters(group, name).items() if p.default is inspect.Parameter.empty}
    assert required <= options(group, name).keys() | runtime(group)


@EVERY_FILE
def test_is_completed_by_the_experiment(group: str, name: str) -> None:
    assert (read(group, name).get("_partial_") is True) == (group not in WHOLE)


@OURS
def test_every_argument_is_spelled_out(group: str, name: str) -> None:
    assert parameters(group, name).keys() - runtime(group) == options(group, name).keys()


@OURS
def test_arguments_are_keyword_only(group: str, name: str) -> None:
    kinds = {p.kind for p in parameters(group, name).values()}
    assert kinds <= {inspect.Parameter.KEYWORD_ONLY}


@OURS
def test_every_value_is_what_its_annotation_allows(group: str, name: str) -> None:
    hints = get_type_hints(target(group, name).__init__, include_extras=True)
    for key, value in options(group, name).items():
        if (group, key) == ("join", "picture") or str(value).startswith(("???", "${")):
            continue  # a config of its own; or left to the user, or another option's
        TypeAdapter(hints[key]).validate_python(value, strict=True)


@pytest.mark.parametrize(("group", "name"), NOTHING)
def test_a_choice_of_nothing_holds_nothing(group: str, name: str) -> None:
    assert read(group, name) == {}


@pytest.mark.parametrize("name", names("backbone"))
def test_a_backbone_brings_a_way_to_read_texts(name: str) -> None:
    brought = [entry for entry in read("backbone", name)["defaults"] if isinstance(entry, dict)]
    assert len(brought) == 1
    assert brought[0]["/text@_global_.text"] in names("text")


@pytest.mark.parametrize("name", names("optimizer"))
def test_optimizer_learns(name: str) -> None:
    # Also finds numbers that YAML reads as text (1e-3 without a dot).
    point = torch.nn.Parameter(torch.tensor([3.0, -2.0]))
    optimizer = build("optimizer", name, params=[point])
    for _ in range(20):
        optimizer.zero_grad()
        point.square().sum().backward()
        optimizer.step()
    assert point.square().sum().item() < 13 - 1e-4
