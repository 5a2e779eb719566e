"""What labels in chunks go with is known before any data is read."""

from typing import Any

import pytest

from mlc.errors import UserError
from mlc.experiment.recipe import Recipe, read_recipe
from tests.unit.experiment.shipped import config, labels


def in_chunks(chosen: dict[str, str], options: dict[str, Any]) -> Recipe:
    content = config(**chosen)
    content["trainer"] |= {"clip_norm": None, "label_chunk": "auto"} | options
    return read_recipe(content)


@pytest.mark.parametrize(
    ("chosen", "options", "says"),
    [
        ({}, {"clip_norm": 1.0}, "trainer.label_update=at_step"),
        ({"optimizer": "adadelta"}, {}, "Adadelta with these options cannot take its step chunk by chunk"),
        ({"auxiliary": "sigmoid"}, {}, "auxiliary=none"),
        ({"head": "classifier_chain", "calibration": "none"}, {}, "choose decision="),
        ({"loss": "zlpr", "calibration": "none", "decision": "top_k"}, {}, "needs all labels at once"),
        ({"calibration": "platt"}, {}, "calibration=temperature or none"),
        ({"decision": "expected_f1"}, {}, "ExpectedF1 looks at all labels at once"),
    ],
)
def test_what_does_not_go_together_is_refused(
    chosen: dict[str, str], options: dict[str, Any], says: str
) -> None:
    head = {"head": "sigmoid", "loss": "binary_cross_entropy"}
    if chosen.get("head") == "classifier_chain":
        head["loss"] = "negative_log_likelihood"
    with pytest.raises(UserError, match=says):
        in_chunks(head | chosen, options)


def test_what_depends_on_the_data_is_checked_again() -> None:
    chosen = {
        "head": "softmax",
        "loss": "categorical_cross_entropy",
        "calibration": "none",
        "decision": "top_k",
    }
    found = in_chunks(chosen, {})
    found.check_fit(labels(single_label=False))
    with pytest.raises(UserError, match=r"head\.reading=label_shares"):
        found.check_fit(labels(single_label=True))
