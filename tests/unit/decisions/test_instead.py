import pytest
import torch

from mlc.decisions.auto import default_for
from mlc.decisions.instead import rules_for_scores
from mlc.outputs.base import LabelOutput
from mlc.outputs.calibrated import CalibratedLabels
from mlc.outputs.chain import LabelChain
from mlc.outputs.counts import PointCount
from mlc.outputs.factorised import FactorisedCount
from mlc.outputs.scores_only import ScoresOnly
from mlc.outputs.shares import LabelShares
from mlc.outputs.single_choice import SingleChoice

Z = torch.zeros(1, 3)


@pytest.mark.parametrize("calibrated", [False, True])
@pytest.mark.parametrize(
    "model",
    [
        LabelChain(Z, torch.zeros(3, 3)),
        FactorisedCount(Z, PointCount(torch.ones(1))),
        SingleChoice(Z),
        LabelShares(Z),
        ScoresOnly(Z, Z),
    ],
)
def test_the_models_own_rule_comes_first(model: LabelOutput, calibrated: bool) -> None:
    sentence = rules_for_scores(CalibratedLabels(Z, model) if calibrated else model)
    assert sentence.startswith(f"decision={default_for(model)}, ")
    assert sentence.endswith("per_label_threshold or top_k")
    assert sentence.count("global_threshold") == 1
