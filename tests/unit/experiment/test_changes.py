from copy import deepcopy
from typing import Any

import pytest

from mlc.experiment.changes import changes
from mlc.experiment.recipe import read_recipe
from tests.unit.experiment.shipped import config


def changed(new: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
    return changes(read_recipe(new).config, old)


def picture_run() -> dict[str, Any]:
    return config(dataset="mnist_pictures", backbone="cnn", join="dense", auxiliary="sigmoid")


def test_the_config_of_a_run_is_its_own() -> None:
    new = picture_run()
    assert changed(new, deepcopy(new)) == {}


@pytest.mark.parametrize(
    ("key", "value"), [("optimizer.lr", 0.5), ("trainer.max_steps", 7), ("seed", 3), ("init_from", "runs/a")]
)
def test_what_is_another_is_found_by_its_key(key: str, value: Any) -> None:
    new, old = config(), config()
    group, _, option = key.partition(".")
    if option:
        old[group][option] = value
    else:
        old[group] = value
    assert changed(new, old) == {key: new[group][option] if option else new[group]}


def test_another_class_is_found() -> None:
    found = changed(config(head="softmax"), config())
    assert found["head._target_"] == "mlc.heads.softmax.SoftmaxHead"


def test_an_option_that_has_come_since_has_its_default_in_an_older_run() -> None:
    """Also one within a node of a group."""
    new, old = picture_run(), picture_run()
    for key in ("checkpoint_pause_s", "label_shards", "max_steps"):
        del old["trainer"][key]
    del old["backbone"]["channels_last"]
    new["join"]["picture"]["channels_last"] = "auto"
    assert changed(new, old) == {}


def test_an_option_that_has_come_since_and_is_another_is_found() -> None:
    new, old = picture_run(), picture_run()
    new["trainer"]["checkpoint_pause_s"], new["backbone"]["channels_last"] = 30.0, True
    new["join"]["picture"]["channels_last"] = True
    del old["trainer"]["checkpoint_pause_s"], old["backbone"]["channels_last"]
    assert changed(new, old) == {
        "trainer.checkpoint_pause_s": 30.0,
        "backbone.channels_last": True,
        "join.picture": new["join"]["picture"],
    }


def test_an_option_without_a_default_must_be_there() -> None:
    new, old = config(), config()
    del old["trainer"]["batch_size"]
    assert changed(new, old) == {"trainer.batch_size": new["trainer"]["batch_size"]}


def test_what_the_data_decide_is_no_change() -> None:
    """What `auto` has become, and a text encoder that the data had no use for."""
    new, old = config(text="words"), config(text="none", decision="fixed", calibration="platt")
    old["trainer"]["device"] = "cpu"
    assert new["decision"] == new["calibration"] == {"auto": True}
    assert new["trainer"]["device"] == "auto"
    assert changed(new, old) == {}
