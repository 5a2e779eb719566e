"""The options that messages name, against the configs that users choose from."""

import importlib

import pytest

from mlc.experiment.shipped import load_shipped, shipped
from mlc.training.option_names import option_name


@pytest.mark.parametrize("group", ["calibration", "decision", "head", "loss", "optimizer"])
def test_an_option_is_named_where_it_alone_means_the_class_and_no_other_ever(group: str) -> None:
    options: dict[type, list[str]] = {}
    for name in shipped(group):
        if target := load_shipped(group, name).get("_target_"):
            module, _, kind = target.rpartition(".")
            options.setdefault(getattr(importlib.import_module(module), kind), []).append(f"{group}={name}")
    for kind, names in options.items():
        own = names[0] if len(names) == 1 else kind.__name__
        elsewhere = kind.__module__ in ("mlc.decisions.thresholds", "mlc.training.memory_light")
        assert option_name(object.__new__(kind)) == (kind.__name__ if elsewhere else own)


def test_a_class_of_the_users_own_goes_by_its_name() -> None:
    assert option_name(pytest.approx(1)) == "ApproxScalar"
