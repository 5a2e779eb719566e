import pytest
import torch

from mlc.decisions.most_probable import MostProbableSet
from mlc.errors import UserError
from mlc.outputs.base import LabelOutput
from mlc.outputs.calibrated import CalibratedLabels
from mlc.outputs.counts import PointCount
from mlc.outputs.factorised import FactorisedCount
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.scores_only import ScoresOnly
from mlc.outputs.shares import LabelShares
from mlc.outputs.single_choice import SingleChoice

Z = torch.tensor([[0.5, -1, 2], [-3, -1, -2]])


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (IndependentLabels(Z), [[True, False, True], [False, False, False]]),
        (SingleChoice(Z), [[False, False, True], [False, True, False]]),
        (CalibratedLabels(-Z, SingleChoice(Z)), [[False, False, True], [False, True, False]]),
    ],
)
def test_the_mode_of_the_model_is_decided(output: LabelOutput, expected: list[list[bool]]) -> None:
    rule = MostProbableSet(n_labels=3)
    rule.check(output)
    rule.fit(output, torch.ones(2, 3))
    assert rule(output).tolist() == expected
    assert rule.thresholds() is None


@pytest.mark.parametrize(
    "output",
    [
        LabelShares(Z),
        FactorisedCount(Z, PointCount(torch.ones(2))),
        ScoresOnly(Z, Z),
        CalibratedLabels(Z, LabelShares(Z)),
    ],
)
def test_models_without_a_mode_are_refused(output: LabelOutput) -> None:
    with pytest.raises(UserError, match=f"{type(output.model).__name__} is none.*global_threshold"):
        MostProbableSet(n_labels=3).check(output)
