import pytest
import torch

from mlc.decisions.most_probable import MostProbableSet
from mlc.errors import UserError
from mlc.outputs.base import LabelOutput
from mlc.outputs.calibrated import CalibratedLabels
from mlc.outputs.chain import LabelChain
from mlc.outputs.counts import PointCount
from mlc.outputs.factorised import FactorisedCount
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.label_sets import LabelSets
from mlc.outputs.levels import LabelLevels
from mlc.outputs.scores_only import ScoresOnly
from mlc.outputs.shares import LabelShares
from mlc.outputs.single_choice import SingleChoice

Z = torch.tensor([[0.5, -1, 2], [-3, -1, -2]])
SETS = torch.tensor([[1, 1, 1], [0, 1, 0], [0, 1, 1]]).bool()
# In the first label of the first row level 0 is the most probable one, and still the label is likely there.
LEVELS = torch.tensor(
    [[[0.4, 0.3, 0.3], [0.6, 0.2, 0.2], [0.8, 0.1, 0.1]], [[0.9, 0.0, 0.1], [0.1, 0.8, 0.1], [0.5, 0.2, 0.3]]]
).log()


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (IndependentLabels(Z), [[True, False, True], [False, False, False]]),
        (SingleChoice(Z), [[False, False, True], [False, True, False]]),
        (CalibratedLabels(-Z, SingleChoice(Z)), [[False, False, True], [False, True, False]]),
        (LabelSets(Z, SETS), [[False, True, True], [False, True, False]]),
        (CalibratedLabels(-Z, LabelSets(Z, SETS)), [[False, True, True], [False, True, False]]),
        (LabelLevels(LEVELS), [[True, False, False], [False, True, False]]),
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
        LabelChain(Z, torch.zeros(3, 3)),
        CalibratedLabels(Z, LabelShares(Z)),
    ],
)
def test_models_without_a_mode_are_refused(output: LabelOutput) -> None:
    with pytest.raises(
        UserError, match=f"{type(output.model).__name__} is none: use decision=.*global_threshold"
    ):
        MostProbableSet(n_labels=3).check(output)
