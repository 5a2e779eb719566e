import pytest
import torch

from mlc.decisions.greedy import GreedySet
from mlc.errors import UserError
from mlc.outputs.base import LabelOutput
from mlc.outputs.calibrated import CalibratedLabels
from mlc.outputs.chain import LabelChain
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.label_sets import LabelSets
from mlc.outputs.levels import LabelLevels
from mlc.outputs.scores_only import ScoresOnly

Z = torch.zeros(1, 3)


def test_each_label_is_decided_given_those_decided_before() -> None:
    g = torch.Generator().manual_seed(0)
    logits_BL, links_LL = torch.randn(40, 6, generator=g), torch.randn(6, 6, generator=g) * 2
    output = LabelChain(logits_BL, links_LL)
    rule = GreedySet(n_labels=6)
    rule.check(output)
    rule.fit(output, torch.ones(40, 6), torch.ones(40))
    expected = []
    for row in logits_BL.tolist():
        decided: list[bool] = []
        for label, logit in enumerate(row):
            said = sum(float(links_LL[label, j]) for j, is_in in enumerate(decided) if is_in)
            decided.append(logit + said > 0)
        expected.append(decided)
    assert rule(output).tolist() == expected
    assert rule(output).tolist() != (logits_BL > 0).tolist()
    assert rule.thresholds() is None


def test_the_path_is_the_models_own_under_calibration() -> None:
    model = LabelChain(torch.tensor([[1.0, -1, 0.5]]), torch.tensor([[0.0, 0, 0], [3, 0, 0], [0, -1, 0]]))
    output = CalibratedLabels(-torch.ones(1, 3), model)
    rule = GreedySet(n_labels=3)
    rule.check(output)
    assert rule(output).tolist() == [[True, True, False]]


@pytest.mark.parametrize(
    "output",
    [
        IndependentLabels(Z),
        ScoresOnly(Z, Z),
        LabelLevels(torch.zeros(1, 3, 2)),
        LabelSets(torch.zeros(1, 1), torch.ones(1, 3).bool()),
        CalibratedLabels(Z, ScoresOnly(Z, Z)),
    ],
)
def test_other_models_are_refused(output: LabelOutput) -> None:
    with pytest.raises(UserError, match=f"{type(output.model).__name__} is none: .*decision=auto"):
        GreedySet(n_labels=3).check(output)
