"""What labels in chunks go with is known before any data is read."""

from typing import Any

import pytest

from mlc.errors import UserError
from mlc.experiment.pairing import head_output, losses_for
from mlc.experiment.recipe import Recipe, read_recipe
from tests.unit.experiment.shipped import config, labels

SOFTMAX = {"head": "softmax", "loss": "categorical_cross_entropy"}


def in_chunks(chosen: dict[str, str], options: dict[str, Any]) -> Recipe:
    content = config(**chosen)
    content["trainer"] |= {"clip_norm": None, "label_chunk": "auto"} | options
    return read_recipe(content)


@pytest.mark.parametrize(
    ("chosen", "options", "says"),
    [
        ({}, {"clip_norm": 1.0}, "trainer.label_update=at_step"),
        (
            {"optimizer": "adadelta"},
            {},
            "optimizer=adadelta with these options cannot take its step chunk by chunk",
        ),
        ({"auxiliary": "sigmoid"}, {}, "auxiliary=none"),
        *(
            (
                {"head": "classifier_chain"} | more,
                {},
                "head=classifier_chain, .*: choose head=sigmoid, softmax",
            )
            for more in ({}, {"calibration": "none"}, {"loss": "binary_cross_entropy"}, {"decision": "fixed"})
        ),
        ({"head": "levels", "loss": "negative_log_likelihood"}, {}, "choose head=sigmoid, softmax"),
        ({"loss": "zlpr", "calibration": "none", "decision": "top_k"}, {}, "needs all labels at once"),
        ({"loss": "soft_f1"}, {}, "loss=soft_f1 on head=sigmoid, which needs all labels at once"),
        ({"calibration": "platt"}, {}, "calibration=platt .*: set calibration=temperature or none"),
        ({**SOFTMAX, "calibration": "platt"}, {}, "calibration=platt .*: set calibration=none"),
        ({**SOFTMAX, "calibration": "temperature"}, {}, "calibration=temperature .*: set calibration=none"),
        ({**SOFTMAX, "decision": "fixed"}, {}, "decision=fixed .*: choose decision=global_threshold"),
        ({"decision": "expected_f1"}, {}, "decision=expected_f1 looks at all labels at once"),
    ],
)
def test_what_does_not_go_together_is_refused(
    chosen: dict[str, str], options: dict[str, Any], says: str
) -> None:
    loss = "negative_log_likelihood" if chosen.get("head") == "classifier_chain" else "binary_cross_entropy"
    head = {"head": "sigmoid", "loss": loss}
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


# What has all its labels in chunks, with one label in each row and with several: the automatic choices.
AUTO_IN_CHUNKS = {
    ("sigmoid", "binary_cross_entropy"): ("temperature", "fixed"),
    ("sigmoid", "negative_log_likelihood"): ("temperature", "fixed"),
    ("sigmoid", "asymmetric"): ("none", "global_threshold"),
    ("sigmoid", "focal"): ("temperature", "fixed"),
    ("sigmoid", "squared_hinge"): ("none", "global_threshold"),
    ("softmax", "categorical_cross_entropy"): ("none", "global_threshold"),
    ("factorised", "factorised_kl_mse"): ("none", "by_count"),
    ("factorised_poisson", "factorised_kl_poisson"): ("none", "by_count"),
}


@pytest.mark.parametrize(("head", "loss"), AUTO_IN_CHUNKS)
def test_automatic_choices_go_with_chunks_and_what_differs_is_said(head: str, loss: str) -> None:
    found = in_chunks({"head": head, "loss": loss}, {}).resolved(labels())
    found.check_fit(labels())
    choices = found.config["choices"]
    assert (choices["calibration"], choices["decision"]) == AUTO_IN_CHUNKS[head, loss]
    usual = read_recipe(config(head=head, loss=loss)).resolved(labels())
    assert choices["decision"] == usual.config["choices"]["decision"]
    assert not usual.notes
    if usual.config["choices"]["calibration"] == choices["calibration"]:
        assert not found.notes
    else:
        (note,) = found.notes
        assert note.startswith(f"calibration=auto is {choices['calibration']}: with trainer.label_chunk")
        assert "platt cannot be fitted" in note
    assert read_recipe(found.config).resolved(labels()).notes == (), "named, it is no surprise any more"


def test_no_loss_that_trains_in_chunks_is_left_without_automatic_choices() -> None:
    accepted, refused = 0, []
    for head in ("sigmoid", "softmax", "factorised"):
        output = head_output(read_recipe(config(head=head)).makers["head"], labels())
        for loss in losses_for(output, labels()):
            try:
                in_chunks({"head": head, "loss": loss}, {})
                accepted += 1
            except UserError as error:
                refused.append(str(error))
    assert all("needs all labels at once" in sentence for sentence in refused)
    assert accepted >= len(AUTO_IN_CHUNKS) - 1
