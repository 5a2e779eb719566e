"""Fits piece by piece; against those of all labels at once see test_label_chunk_evaluation."""

import pytest
import torch

from mlc.errors import Fault
from mlc.rows import LabelRows
from mlc.training import roads
from mlc.training.label_fit import fit_by_label
from tests.unit.training import tiny
from tests.unit.training.test_label_chunk_evaluation import (
    SIGMOID,
    L,
    N,
    classifier,
    predictions,
    split,
    targets,
)


def test_without_positives_one_threshold_decides_nothing():
    made = classifier(*SIGMOID, "none", "global_threshold", {}, dense=False)
    found = predictions(made, split(dense=False))
    none = torch.zeros(N, dtype=torch.int64)
    rows = split(dense=False)
    empty = type(rows)(inputs=rows.inputs, y_NL=LabelRows(none[:0], none, none, L))
    fit_by_label(made, predictions(made, empty))
    assert roads.evaluate(made, found).metrics["empty_fraction"] == 1


@pytest.mark.parametrize("separate", [False, True])
def test_what_is_said_of_the_fit_is_said_of_both_roads(separate):
    made = classifier(*SIGMOID, "temperature", "per_label_threshold", {}, dense=False)
    rows = split(dense=False)
    said = []
    for label_chunk in (None, 4):
        found = roads.predict_split(made.network, rows, tiny.settings(label_chunk=label_chunk), "cpu")
        said.append(roads.fit_on_validation(made, found, memory_limit_mb=1.0, separate=separate))
    assert said[0] == said[1]
    never = int((targets().sum(0) == 0).sum())
    assert f"{never} of 23 labels take the decision's fallback" in said[0].sentence


@pytest.mark.parametrize("calibration", ["none", "temperature"])
@pytest.mark.parametrize("rule", ["global_threshold", "per_label_threshold"])
def test_scores_that_are_nan_are_a_fault(calibration, rule):
    made = classifier(*SIGMOID, calibration, rule, {}, dense=False)
    with torch.no_grad():
        next(made.network.head.parameters()).fill_(torch.nan)
    with pytest.raises(Fault, match="training has diverged"):
        fit_by_label(made, predictions(made, split(dense=False)))
