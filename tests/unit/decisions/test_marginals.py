import pytest
import torch

from mlc.decisions.base import Decision
from mlc.decisions.cost_weighted import CostWeighted
from mlc.decisions.fixed import FixedThreshold
from mlc.decisions.marginals import require_marginals
from mlc.decisions.plug_in import PlugInThreshold
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

Z = torch.zeros(2, 3)
RULES = [
    (FixedThreshold(n_labels=3, threshold=0.5), "fixed"),
    (PlugInThreshold(n_labels=3, average="macro"), "plug_in"),
    (CostWeighted(n_labels=3, false_positive=1.0, false_negative=2.0), "cost_weighted"),
]


@pytest.mark.parametrize(
    "output",
    [
        LabelShares(Z),
        FactorisedCount(Z, PointCount(torch.ones(2))),
        ScoresOnly(Z, Z),
        LabelChain(Z, torch.zeros(3, 3)),
    ],
)
@pytest.mark.parametrize(("rule", "name"), RULES)
def test_scores_are_refused_and_calibrators_named(rule: Decision, name: str, output: LabelOutput) -> None:
    own = {FactorisedCount: "by_count, ", LabelChain: "greedy, "}.get(type(output), "")
    sentence = (
        f"decision={name} needs marginals, and {type(output).__name__} has none: "
        "use calibration=platt, isotonic or histogram, "
        f"or decision={own}global_threshold, per_label_threshold or top_k"
    )
    with pytest.raises(UserError) as caught:
        rule.check(output)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    "output",
    [
        IndependentLabels(Z),
        SingleChoice(Z),
        LabelLevels(torch.zeros(2, 3, 4)),
        LabelSets(torch.zeros(2, 2), torch.eye(3).bool()[:2]),
        CalibratedLabels(Z, LabelShares(Z)),
        CalibratedLabels(Z, LabelChain(Z, torch.zeros(3, 3))),
    ],
)
@pytest.mark.parametrize(("rule", "name"), RULES)
def test_marginals_pass(rule: Decision, name: str, output: LabelOutput) -> None:
    rule.check(output)
    require_marginals(output, rule=name)
