import pytest
import torch

from mlc.calibration.base import Calibrator
from mlc.decisions.base import Decision
from mlc.errors import UserError
from mlc.experiment.instantiate import make
from mlc.experiment.shipped import load_shipped, shipped
from mlc.outputs.counts import PoissonCount
from mlc.outputs.factorised import FactorisedCount
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.shares import LabelShares
from mlc.outputs.single_choice import SingleChoice
from mlc.training.label_evaluation_check import check_label_evaluation, default_calibration

Z = torch.zeros(1, 4)
OUTPUTS = {
    "sigmoid": IndependentLabels(Z),
    "shares": LabelShares(Z),
    "choice": SingleChoice(Z),
    "count": FactorisedCount(Z, PoissonCount(torch.zeros(1))),
}


def check(output: str, calibration: str, decision: str, **options) -> None:
    nodes = {
        "calibration": load_shipped("calibration", calibration),
        "decision": {**load_shipped("decision", decision), **options},
    }
    calibrator = make(nodes["calibration"], group="calibration", kind=Calibrator)(n_labels=4)
    rule = make(nodes["decision"], group="decision", kind=Decision)(n_labels=4)
    check_label_evaluation(OUTPUTS[output], calibrator, rule)


@pytest.mark.parametrize(
    ("output", "calibration", "decision"),
    [
        *(
            ("sigmoid", "temperature", rule)
            for rule in ("fixed", "cost_weighted", "scut_fbr", "most_probable")
        ),
        *(("shares", "none", rule) for rule in ("global_threshold", "per_label_threshold", "top_k")),
        ("count", "none", "by_count"),
    ],
)
def test_what_works(output, calibration, decision):
    check(output, calibration, decision)


@pytest.mark.parametrize("output", ["sigmoid", "count"])
def test_everything_else_is_refused_and_what_works_is_named(output):
    for calibration in {*shipped("calibration")} - {"none", "temperature", "auto"}:
        with pytest.raises(
            UserError, match=rf"calibration={calibration} .* set calibration=.*none, or train with trainer"
        ):
            check(output, calibration, "top_k")
    for decision in ("expected_f1", "conformal", "threshold_by_frequency"):
        with pytest.raises(UserError, match=rf"decision={decision} .*choose decision=.*or top_k"):
            check(output, "none", decision)


@pytest.mark.parametrize(
    ("output", "decision", "options", "says"),
    [
        ("sigmoid", "plug_in", {"average": "micro"}, "decision.average=macro"),
        ("count", "by_count", {"count": "mode"}, "decision.count=mean"),
        ("sigmoid", "by_count", {"count": "mean"}, "choose decision=fixed"),
        ("shares", "most_probable", {}, "choose decision=global_threshold"),
        ("shares", "fixed", {}, "decision=fixed needs the probability .* choose decision=global_threshold"),
        ("choice", "most_probable", {}, "head.reading=label_shares"),
    ],
)
def test_options_and_heads(output, decision, options, says):
    with pytest.raises(UserError, match=says):
        check(output, "none", decision, **options)


@pytest.mark.parametrize(
    ("output", "name"), [("sigmoid", "temperature"), ("shares", "none"), ("count", "none")]
)
def test_the_automatic_calibration_is_one_that_works(output, name):
    assert default_calibration(OUTPUTS[output]) == name
    check(output, name, "top_k")
    if name == "none":
        with pytest.raises(UserError, match=r"calibration=temperature .* set calibration=none"):
            check(output, "temperature", "top_k")
